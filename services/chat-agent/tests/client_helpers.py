"""What the tests of runs have in common: asking, hearing, and waiting for what is to come."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import Any, TypeVar

import httpx
from chat_agent.settings import Settings
from openai import OpenAI
from testkit.databases import query
from testkit.live_server import NO_AUTHORITIES
from testkit.sse import Event, documents, events

T = TypeVar("T")

CHAT, STREAM, RUNS = "/api/v1/chat", "/api/v1/chat/stream", "/api/v1/runs"
# It begins to answer, and does not come to an end by itself.
ENDLESS = "Tell me a long story [sandbox: tokens=60, stall-after=30]"


def openai_client(person: httpx.Client, end_user: str | None = None, **options: Any) -> OpenAI:
    """Return OpenAI's client for somebody: their access token is its key."""
    key = person.headers["authorization"].removeprefix("Bearer ")
    headers = {"Acme-End-User": end_user} if end_user else {}
    options = {
        "base_url": f"{str(person.base_url).rstrip('/')}/v1",
        "max_retries": 0,
        "timeout": 60,
        **options,
    }
    return OpenAI(api_key=key, default_headers=headers, **options)


def start_run(client: httpx.Client, message: str = "Hello", at: str = "", **more: Any) -> dict[str, Any]:
    """Begin a run, at another replica if its address is given."""
    answer = client.post(f"{at}{RUNS}", json={"message": message, **more})
    assert answer.status_code == 202, answer.text
    run: dict[str, Any] = answer.json()
    return run


def read_run(client: httpx.Client, run: dict[str, Any]) -> dict[str, Any]:
    """Read a run as it is now."""
    now: dict[str, Any] = client.get(f"{RUNS}/{run['id']}").json()
    return now


@contextmanager
def subscribed(
    client: httpx.Client, run: dict[str, Any], after: int = 0, at: str = ""
) -> Iterator[Iterator[Event]]:
    """Listen to a run for as long as the block lasts."""
    with client.stream("GET", f"{at}{RUNS}/{run['id']}/events", params={"after": after}) as answer:
        assert answer.status_code == 200, answer.read()
        yield events(answer)


def read_events(client: httpx.Client, run: dict[str, Any], after: int = 0, at: str = "") -> list[Event]:
    """Read a run until it ends, or waits for a person; what is in its log, which has numbers."""
    with subscribed(client, run, after, at) as received:
        return [event for event in received if event.id]


def wait_until_finished(client: httpx.Client, run: dict[str, Any]) -> dict[str, Any]:
    """Wait until a run is over, or waits for a person; gives it as it is then."""
    read_events(client, run)
    return read_run(client, run)


def start_streaming_run(
    client: httpx.Client, message: str = ENDLESS, at: str = "", **more: Any
) -> dict[str, Any]:
    """Begin a run, and wait until it says something."""
    run = start_run(client, message, at, **more)
    with subscribed(client, run) as received:
        next(event for event in received if event.type == "message.delta")
    return run


def cancel_run(client: httpx.Client, run: dict[str, Any], at: str = "") -> httpx.Response:
    """Request that a run stops."""
    return client.post(f"{at}{RUNS}/{run['id']}/cancel")


def payloads_of(received: Iterable[Event], type: str) -> list[dict[str, Any]]:
    """Return what events of one type say."""
    return [event.data for event in received if event.type == type]


def message_text(received: Iterable[Event]) -> str:
    """Join the pieces of what was said."""
    return "".join(event.data["delta"] for event in received if event.type == "message.delta")


def error_of(answer: httpx.Response) -> tuple[int, str]:
    """Return the status and the code of an error."""
    return answer.status_code, answer.json()["code"]


def in_parallel(calls: Sequence[Callable[[], T]]) -> list[T]:
    """Make calls all at the same time."""
    with ThreadPoolExecutor(len(calls)) as pool:
        return [each.result() for each in [pool.submit(call) for call in calls]]


def text_of(answer: httpx.Response) -> str:
    """Return the text of an answer; of a stream, its deltas joined."""
    assert answer.status_code == 200, answer.text[:500]
    return answer.text + "".join(document.get("delta", "") for document in documents(answer))


def everything_stored(settings: Settings) -> str:
    """Return all rows of all tables."""
    url = settings.database_url.get_secret_value()
    tables = query(url, "select tablename from pg_tables where schemaname = current_schema()")
    return str([query(url, f'select * from "{name}"') for (name,) in tables])  # noqa: S608  # names of tables


@contextmanager
def clients_with(token: str) -> Iterator[Callable[[str], httpx.Client]]:
    """Return a function that opens a client of an address with this token; all are closed at the end."""
    headers = {"Authorization": f"Bearer {token}"}
    with ExitStack() as stack:

        def client_at(url: str) -> httpx.Client:
            client = httpx.Client(base_url=url, headers=headers, timeout=60, verify=NO_AUTHORITIES)
            return stack.enter_context(client)

        yield client_at
