"""Postgres fails while it commits, and nobody knows whether it has: everything is done once all the same."""

import runpy
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from chat_agent.agents import AGENTS
from chat_agent.clients import retry
from chat_agent.direct_models import DirectModel
from chat_agent.main import create_app
from chat_agent.settings import Settings
from pydantic import SecretStr
from sqlalchemy.engine import make_url
from testkit.databases import query
from testkit.eventually import until
from testkit.live_server import serving
from testkit.proxy import Proxy
from testkit.sse import Event, events

from .client_helpers import RUNS, STREAM, payloads_of, read_events, read_run, start_run
from .conftest import OtherServices
from .lost_commits import LOSSES, Commits
from .test_agent_definitions import published
from .test_compaction import SOON, Call, Talk, summary_calls, usage
from .test_durable import calls_and_outputs, is_whole
from .test_memories import listed
from .test_notes import SAID, remember

__all__ = ["usage"]

CLERK = runpy.run_path(str(Path(__file__).parent / "replica.py"))["clerk"]
BOOK = {"message": "Please [sandbox: call=book]", "agent_type": "clerk"}
# Longer than a busy machine keeps a replica from renewing it.
LEASE = 5.0
Usage = Callable[[], list[dict[str, Any]]]
whichever_loss = pytest.mark.parametrize("loss", LOSSES)


@pytest.fixture(scope="module")
def model_url(recorded_model_url: str) -> str:
    return recorded_model_url


@pytest.fixture(scope="module")
def settings(settings: Settings) -> Settings:
    embeddings = DirectModel(tenants=frozenset({"*"}), endpoints=frozenset({"embeddings"}))
    changes = {
        "run_lease_seconds": LEASE,
        "direct_models": {"sandbox-embedding": embeddings},
        "model_context_lengths": {"sandbox-large": 100_000},
    }
    return settings.model_copy(update=changes)


@pytest.fixture(scope="module")
def way(postgres: Any) -> Iterator[Proxy]:
    """The way of the service to Postgres."""
    with Proxy(postgres.port) as way:
        yield way


@pytest.fixture(scope="module")
def url(settings: Settings, way: Proxy) -> Iterator[str]:
    address = make_url(settings.database_url.get_secret_value()).set(port=way.port)
    own = SecretStr(address.render_as_string(hide_password=False))
    with serving(create_app(settings.model_copy(update={"database_url": own}))) as url:
        yield url


@pytest.fixture
def commits(settings: Settings, way: Proxy) -> Commits:
    return Commits(settings.database_url.get_secret_value(), way)


@pytest.fixture
def marks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the tools of the clerk leave behind."""
    monkeypatch.setenv("MARKS", str(tmp_path / "marks"))
    monkeypatch.setitem(AGENTS, "clerk", CLERK)
    (tmp_path / "marks.go").touch()
    return tmp_path / "marks"


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor() as pool:
        yield pool


def ends_of(received: list[Event]) -> list[str]:
    return [one.type for one in received if one.type in {"run.completed", "run.failed", "run.cancelled"}]


STEPS = {
    "a call begins": ("insert on tool_calls", "new.name = 'book'"),
    "a call has ended": ("update on tool_calls", "new.status = 'completed'"),
    "the run is stored": ("update on runs", "new.status = 'running' and new.usage <> old.usage"),
    "the run ends": ("update on runs", "new.status = 'completed'"),
}


@whichever_loss
@pytest.mark.parametrize("step", STEPS)
def test_a_run_ends_once_and_makes_its_call_once(
    ann: httpx.Client,
    commits: Commits,
    marks: Path,
    other_services: OtherServices,
    completed_events: Callable[[str], list[Any]],
    step: str,
    loss: str,
) -> None:
    with commits.losing(*STEPS[step], loss) as lose:
        run = start_run(ann, **BOOK)
        lose()
        received = read_events(ann, run)
    assert is_whole(received)
    assert ends_of(received) == ["run.completed"], received[-1]
    assert read_run(ann, run)["status"] == "completed"
    assert marks.read_text().split() == ["book"]
    assert calls_and_outputs(other_services, run["conversation_id"]) == [
        ("function_call", "book"),
        ("function_call_output", "booked"),
    ]
    assert len(until(lambda: completed_events(run["id"]))) == 1


def test_a_run_that_cannot_reach_postgres_for_long_is_continued_by_whoever_can(
    ann: httpx.Client,
    way: Proxy,
    marks: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(retry, "OUTAGE_SECONDS", 1.0)
    marks.with_suffix(".go").unlink()
    run = start_run(ann, "Please [sandbox: call=look]", agent_type="clerk")
    until(marks.exists)
    with way.cut():
        marks.with_suffix(".go").touch()
        until(lambda: {"run released: the database is away", "run failed"} & {*caplog.messages})
    received = read_events(ann, run)
    assert is_whole(received)
    assert ends_of(received) == ["run.completed"], received[-1]


@whichever_loss
def test_a_message_that_is_sent_again_with_its_key_is_one_run(
    ann: httpx.Client, commits: Commits, pool: ThreadPoolExecutor, loss: str
) -> None:
    body = {"message": f"Hello {uuid4()}"}
    headers = {"Idempotency-Key": uuid4().hex}
    with commits.losing("insert on runs", "true", loss) as lose:
        first = pool.submit(ann.post, STREAM, json=body, headers=headers)
        lose()
        answer = first.result()
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    with ann.stream("POST", STREAM, json=body, headers=headers) as again:
        received = list(events(again))
    assert is_whole(received)
    assert ends_of(received) == ["run.completed"]
    statement = "select count(*) from runs where message = $1"
    assert query(commits.database, statement, body["message"])[0][0] == 1


@whichever_loss
def test_a_run_that_waits_for_a_person_goes_on_once(
    ann: httpx.Client, commits: Commits, marks: Path, loss: str
) -> None:
    with commits.losing("update on runs", "new.status = 'waiting'", loss) as lose:
        run = start_run(ann, "Please [sandbox: call=order]", agent_type="clerk")
        lose()
        waiting = read_events(ann, run)
    (required,) = payloads_of(waiting, "approval.required")
    assert [one.type for one in waiting].count("run.waiting") == 1
    path = f"{RUNS}/{run['id']}/approvals/{required['approval_id']}"
    assert ann.post(path, json={"approve": True}).is_success
    received = read_events(ann, run)
    assert is_whole(received)
    assert (ends_of(received), marks.read_text().split()) == (["run.completed"], ["order"])


@whichever_loss
def test_a_memory_is_noted_once(
    admin: httpx.Client, member: httpx.Client, commits: Commits, loss: str
) -> None:
    published(admin, "friend", memory={"write": True})
    with commits.losing("insert on memories", "true", loss) as lose:
        run = start_run(member, f"{SAID}. {remember()}", agent_type="friend")
        lose()
        received = read_events(member, run)
    assert ends_of(received) == ["run.completed"], received[-1]
    assert [one["text"] for one in listed(member)] == [SAID]
    assert len(payloads_of(received, "memory.noted")) == 1


@whichever_loss
def test_a_summary_is_requested_and_billed_once(
    admin: httpx.Client,
    member: httpx.Client,
    commits: Commits,
    settings: Settings,
    other_services: OtherServices,
    model_calls: list[Call],
    usage: Usage,
    loss: str,
) -> None:
    published(admin, "friend", compaction=SOON)
    talk, name = Talk(member, settings, other_services, model_calls), f"Ann {uuid4()}"
    with commits.losing("update on compactions", "new.summary is not null", loss) as lose:
        talk.say(f"My name is {name}")
        talk.say("I live in Basel")
        lose()
        talk.wait_for_summary(position=2)
    assert len(summary_calls(model_calls, name)) == 1
    assert len({one["run_id"] for one in until(usage)}) == 1


@whichever_loss
def test_a_call_of_a_model_that_is_no_run_is_answered_and_billed_once(
    member: httpx.Client,
    commits: Commits,
    pool: ThreadPoolExecutor,
    usage: Usage,
    loss: str,
) -> None:
    body = {"model": "sandbox-embedding", "input": "Hello"}
    with commits.losing("insert on outbox", "new.type = 'chat.run.completed.v1'", loss) as lose:
        answering = pool.submit(member.post, "/v1/embeddings", json=body)
        lose()
        answer = answering.result()
    assert answer.status_code == 200, answer.text
    assert len({one["run_id"] for one in until(usage)}) == 1
