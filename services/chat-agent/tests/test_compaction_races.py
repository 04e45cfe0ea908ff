"""Several processes, turns and deletions at the same time: one summary, billed once, and nothing lost."""

import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from chat_agent.compaction.block import summary_block
from chat_agent.settings import Settings
from fastapi import Request, Response
from sandbox.model import create_model
from testkit.databases import query
from testkit.eventually import until
from testkit.fork_server import ForkServer
from testkit.issuer import Issuer
from testkit.live_server import NO_AUTHORITIES, serving
from testkit.service_process import ServiceProcess

from .conftest import OtherServices
from .test_agent_definitions import published
from .test_compaction import SOON, Call, Talk, is_summary, summary_calls, usage

__all__ = ["usage"]

Usage = Callable[[], list[dict[str, Any]]]
REPLICA = Path(__file__).parent / "replica.py"


class Model:
    """The sandbox's model, which holds summaries back for as long as a test wants."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.is_holding = False
        self.app = create_model()
        self.app.middleware("http")(self._record)

    async def _record(self, request: Request, call_next: Any) -> Response:
        if request.method == "POST" and request.url.path == "/v1/responses":
            call = json.loads(await request.body())
            self.calls.append(call)
            while self.is_holding and is_summary(call):  # noqa: ASYNC110  # another thread ends it
                await asyncio.sleep(0.02)
        response: Response = await call_next(request)
        return response

    def summaries(self, name: str) -> int:
        """Return how many summaries were requested of a conversation in which a name is said."""
        return len(summary_calls(self.calls, name))


@pytest.fixture(scope="module")
def model() -> Model:
    return Model()


@pytest.fixture(scope="module")
def model_url(model: Model) -> Iterator[str]:
    with serving(model.app) as url:
        yield url


@pytest.fixture(scope="module")
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"model_context_lengths": {"sandbox-large": 100_000}})


@pytest.fixture
def name() -> str:
    return f"Ann {uuid4()}"


@pytest.fixture
def client(issuer: Issuer, tenant: UUID) -> Iterator[Callable[[str], httpx.Client]]:
    """Return Ann's client of a replica."""
    clients: list[httpx.Client] = []
    token = issuer.token(tenant_id=tenant, subject=f"user:{uuid4()}", role="admin")

    def of(url: str) -> httpx.Client:
        headers = {"Authorization": f"Bearer {token}"}
        clients.append(httpx.Client(base_url=url, headers=headers, timeout=60, verify=NO_AUTHORITIES))
        return clients[-1]

    yield of
    for one in clients:
        one.close()


@pytest.fixture
def talk_at(
    client: Callable[[str], httpx.Client],
    settings: Settings,
    other_services: OtherServices,
    model: Model,
    url: str,
) -> Callable[[str], Talk]:
    """Return a conversation of Ann's, at a replica, with an agent that is summarized after every turn."""
    published(client(url), "friend", compaction=SOON)
    return lambda url: Talk(client(url), settings, other_services, model.calls)


@pytest.fixture
def paused(talk_at: Callable[[str], Talk], url: str, model: Model, name: str) -> Iterator[Talk]:
    """A conversation whose summary is being written, and paused back."""
    talk = talk_at(url)
    model.is_holding = True
    try:
        begin(talk, model, name)
        yield talk
    finally:
        model.is_holding = False


def begin(talk: Talk, model: Model, name: str) -> None:
    talk.say(f"My name is {name}")
    talk.say("I live in Basel")
    until(lambda: model.summaries(name) == 1)


def overdue(settings: Settings, talk: Talk) -> None:
    """Age the time in which another process may not take over."""
    statement = "update compactions set due_at = now() - interval '1 second' where conversation_id = $1"
    query(settings.database_url.get_secret_value(), statement, UUID(talk.id))


def look_around(talk: Talk) -> None:
    """Have a replica look for summaries that are due, in a conversation that has nothing to summarize."""
    talk.say("Hello")
    until(lambda: not talk.rows)


def test_two_replicas_write_one_summary(
    paused: Talk, talk_at: Callable[[str], Talk], other_url: str, model: Model, name: str, usage: Usage
) -> None:
    look_around(talk_at(other_url))
    assert (paused.rows[0][0], model.summaries(name)) == (1, 1)
    model.is_holding = False
    paused.wait_for_summary(position=2)
    assert (model.summaries(name), len(usage())) == (1, 1)


def test_the_attempt_of_a_process_that_was_away_for_too_long_does_not_count(
    paused: Talk,
    talk_at: Callable[[str], Talk],
    other_url: str,
    settings: Settings,
    model: Model,
    name: str,
    usage: Usage,
) -> None:
    overdue(settings, paused)
    # Its own conversation waits for the other summary.
    talk_at(other_url).say("Hello")
    until(lambda: model.summaries(name) == 2)
    assert paused.rows[0][0] == 2
    model.is_holding = False
    paused.wait_for_summary(position=2)
    assert len(usage()) == 1
    assert usage()[0]["conversation_id"] == paused.id


def test_another_process_goes_on_when_one_is_killed_before_it_has_stored_its_summary(
    talk_at: Callable[[str], Talk],
    fork_server: Callable[[Path], ForkServer],
    url: str,
    settings: Settings,
    tmp_path: Path,
    model: Model,
    name: str,
    usage: Usage,
) -> None:
    model.is_holding = True
    process = ServiceProcess(fork_server(REPLICA), tmp_path / "log").start(settings, MARKS=str(tmp_path))
    with process:
        talk = talk_at(process.url)
        begin(talk, model, name)
        process.kill()
    assert talk.rows[0][0] == 1
    overdue(settings, talk)
    model.is_holding = False
    look_around(talk_at(url))
    talk.wait_for_summary(position=2)
    assert (model.summaries(name), len(usage())) == (2, 1)


def test_what_was_written_is_stored_later_without_another_call(
    paused: Talk,
    talk_at: Callable[[str], Talk],
    url: str,
    other_services: OtherServices,
    settings: Settings,
    model: Model,
    name: str,
    usage: Usage,
) -> None:
    statement = "select id from compactions where conversation_id = $1 and summary is not null"
    other_services.down = True
    model.is_holding = False
    database = settings.database_url.get_secret_value()
    until(lambda: query(database, statement, UUID(paused.id)))
    until(lambda: not paused.rows[0][1])
    other_services.down = False
    assert paused.summary is None
    until(lambda: overdue(settings, paused) or look_around(talk_at(url)) or paused.summary)
    paused.wait_for_summary(position=2)
    assert (model.summaries(name), len(usage())) == (1, 1)


def test_a_turn_that_arrives_meanwhile_reads_all_and_the_next_one_the_summary(
    paused: Talk, model: Model, name: str, usage: Usage
) -> None:
    paused.say("I have a canary")
    assert paused.read("I have a canary") == [f"My name is {name}", "I live in Basel", "I have a canary"]
    model.is_holding = False
    text = paused.wait_for_summary(position=2)
    assert (model.summaries(name), len(usage())) == (1, 1), "what the turn has read is not summarized again"
    paused.say("And now?")
    block = summary_block(text)["content"]
    assert paused.read("And now?") == [block, "I live in Basel", "I have a canary", "And now?"]


def test_of_a_conversation_that_is_deleted_meanwhile_nothing_is_stored(
    paused: Talk, other_services: OtherServices, model: Model, name: str, usage: Usage
) -> None:
    for stored in (other_services.items, other_services.owners):
        del stored[paused.id]
    model.is_holding = False
    until(lambda: not paused.rows)
    assert paused.summary is None
    assert (model.summaries(name), len(until(usage))) == (1, 1)
