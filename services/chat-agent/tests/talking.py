"""What the tests of runs have in common: asking, hearing, and waiting for what is to come."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

import httpx
from testkit.sse import Event, events

T = TypeVar("T")

CHAT, STREAM, RUNS = "/api/v1/chat", "/api/v1/chat/stream", "/api/v1/runs"
# It begins to answer, and does not come to an end by itself.
ENDLESS = "Tell me a long story [sandbox: tokens=60, stall-after=30]"


def begin(client: httpx.Client, message: str = "Hello", at: str = "", **more: Any) -> dict[str, Any]:
    """Begin a run, at another replica if its address is given."""
    answer = client.post(f"{at}{RUNS}", json={"message": message, **more})
    assert answer.status_code == 202, answer.text
    run: dict[str, Any] = answer.json()
    return run


def read(client: httpx.Client, run: dict[str, Any]) -> dict[str, Any]:
    """Read a run as it is now."""
    now: dict[str, Any] = client.get(f"{RUNS}/{run['id']}").json()
    return now


@contextmanager
def hearing(
    client: httpx.Client, run: dict[str, Any], after: int = 0, at: str = ""
) -> Iterator[Iterator[Event]]:
    """Listen to a run for as long as the block lasts."""
    with client.stream("GET", f"{at}{RUNS}/{run['id']}/events", params={"after": after}) as answer:
        assert answer.status_code == 200, answer.read()
        yield events(answer.iter_lines())


def heard(client: httpx.Client, run: dict[str, Any], after: int = 0, at: str = "") -> list[Event]:
    """Hear a run until it ends, or waits for a person."""
    with hearing(client, run, after, at) as told:
        return list(told)


def ended(client: httpx.Client, run: dict[str, Any]) -> dict[str, Any]:
    """Wait until a run is over, or waits for a person; gives it as it is then."""
    heard(client, run)
    return read(client, run)


def speaking(client: httpx.Client, message: str = ENDLESS, at: str = "", **more: Any) -> dict[str, Any]:
    """Begin a run, and wait until it says something."""
    run = begin(client, message, at, **more)
    with hearing(client, run) as told:
        next(event for event in told if event.type == "message.delta")
    return run


def cancel(client: httpx.Client, run: dict[str, Any], at: str = "") -> httpx.Response:
    """Ask a run to stop."""
    return client.post(f"{at}{RUNS}/{run['id']}/cancel")


def of_type(told: Iterable[Event], type: str) -> list[dict[str, Any]]:
    """Give what events of one type say."""
    return [event.data for event in told if event.type == type]


def said_in(told: Iterable[Event]) -> str:
    """Join the pieces of what was said."""
    return "".join(event.data["delta"] for event in told if event.type == "message.delta")


def code(answer: httpx.Response) -> tuple[int, str]:
    """Give the status and the code of an error."""
    return answer.status_code, answer.json()["code"]


def at_once(calls: Sequence[Callable[[], T]]) -> list[T]:
    """Make calls all at the same time."""
    with ThreadPoolExecutor(len(calls)) as pool:
        return [each.result() for each in [pool.submit(call) for call in calls]]


def until(condition: Callable[[], T], seconds: float = 20) -> T:
    """Wait for something to become true; gives it."""
    deadline = time.monotonic() + seconds
    while not (seen := condition()):
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)
    return seen
