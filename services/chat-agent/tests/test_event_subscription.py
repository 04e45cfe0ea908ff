"""A run can be heard from any replica, at any pace, from any place, and only as long as there is a point."""

import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import httpx
import pytest
from chat_agent.event_log import store
from chat_agent.main import create_app
from chat_agent.settings import Settings
from redis import Redis
from testkit.databases import query
from testkit.eventually import until
from testkit.issuer import Issuer
from testkit.live_server import NO_AUTHORITIES, serving
from testkit.sse import Event, events

STREAM = "/api/v1/chat/stream"
SLOWLY = {"message": "Slowly [sandbox: tokens=30] [sandbox: rate=25/s]"}
PAUSING = {"message": "Slowly [sandbox: tokens=30, pause-after=20]"}
ANN = f"user:{uuid4()}"
TENANT = uuid4()


@pytest.fixture(scope="module")
def other(settings: Settings) -> Iterator[str]:
    with serving(create_app(settings)) as url:
        yield url


@pytest.fixture
def token(issuer: Issuer) -> str:
    return issuer.token(tenant_id=TENANT, subject=ANN, role="member")


@pytest.fixture
def here(url: str, token: str) -> Iterator[httpx.Client]:
    with client(url, token) as one:
        yield one


@pytest.fixture
def there(other: str, token: str) -> Iterator[httpx.Client]:
    with client(other, token) as one:
        yield one


def client(url: str, token: str) -> httpx.Client:
    return httpx.Client(
        base_url=url, headers={"Authorization": f"Bearer {token}"}, timeout=60, verify=NO_AUTHORITIES
    )


def started(who: httpx.Client, **request: object) -> dict[str, Any]:
    answer = who.post("/api/v1/runs", json=request)
    assert answer.status_code == 202, answer.text
    return answer.json()


def received_events(who: httpx.Client, run_id: str, after: int = 0) -> list[Event]:
    with who.stream("GET", f"/api/v1/runs/{run_id}/events", params={"after": after}) as answer:
        assert answer.status_code == 200, answer.read()
        return [event for event in events(answer) if event.id]


def ended(who: httpx.Client, run_id: str) -> Callable[[], bool]:
    return lambda: who.get(f"/api/v1/runs/{run_id}").json()["ended_at"] is not None


def test_a_run_sounds_alike_at_every_replica(here: httpx.Client, there: httpx.Client) -> None:
    run = started(here, **SLOWLY)
    with ThreadPoolExecutor() as pool:
        received = [
            pool.submit(received_events, who, run["id"], after) for who in (here, there) for after in (0, 1)
        ]
        whole, rest, *others = (one.result() for one in received)
    assert [event.id for event in whole] == list(range(1, len(whole) + 1))
    assert whole[-1].type == "run.completed"
    assert [rest, *others] == [whole[1:], whole, whole[1:]]


def test_a_reader_who_does_not_read_holds_nothing_up(here: httpx.Client, url: str, token: str) -> None:
    run = started(here, message="Much [sandbox: tokens=6000]")
    host, port = httpx.URL(url).host, httpx.URL(url).port
    with socket.create_connection((host, port or 80)) as reader:
        reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        path = f"/api/v1/runs/{run['id']}/events"
        reader.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n".encode())
        until(ended(here, run["id"]))
        received = received_events(here, run["id"])
        assert received[-1].type == "run.completed"
        came = b""
        # What was not read is still there, and it is the same.
        while b"event: run.completed" not in came:
            came += reader.recv(65536)
    assert came.count(b"\nevent: ") >= len(received)
    assert b"".join(f"id: {event.id}\n".encode() for event in received[:3])[:6] in came


def test_a_queued_run_is_streamed_when_it_starts(
    here: httpx.Client, there: httpx.Client, resume_model
) -> None:
    first = started(here, **PAUSING)
    second = started(here, message="And?", conversation_id=first["conversation_id"])
    assert second["status"] == "queued"
    with ThreadPoolExecutor() as pool:
        received = [pool.submit(received_events, who, second["id"]) for who in (here, there)]
        resume_model()
        mine, others = (one.result() for one in received)
    assert mine == others
    assert [event.id for event in mine] == list(range(1, len(mine) + 1))
    assert [event.type for event in mine if event.type.startswith("run.")] == ["run.started", "run.completed"]
    last = received_events(here, first["id"])[-1]
    assert last.data["at"] <= mine[0].data["at"]


def test_a_run_that_ends_in_the_queue_lets_its_readers_go_soon(
    here: httpx.Client, there: httpx.Client, resume_model
) -> None:
    first = started(here, **PAUSING)
    second = started(here, message="And?", conversation_id=first["conversation_id"])
    with ThreadPoolExecutor() as pool:
        received = [pool.submit(received_events, who, second["id"]) for who in (here, there)]
        # What is cancelled at one replica is heard of at the other.
        assert there.post(f"/api/v1/runs/{second['id']}/cancel").status_code == 200
        mine, others = (one.result() for one in received)
    # They have not waited for its turn.
    assert not ended(here, first["id"])()
    assert [event.type for event in mine] == ["run.cancelled"]
    assert mine == others
    assert there.get(f"/api/v1/runs/{second['id']}/events", params={"after": 1}).status_code == 204
    resume_model()
    until(ended(here, first["id"]))


def test_a_client_that_has_the_newest_event_gets_the_next(here: httpx.Client, there: httpx.Client) -> None:
    with here.stream("POST", STREAM, json=SLOWLY) as answer:
        coming = events(answer)
        for _ in range(5):
            newest = next(coming)
        rest = received_events(there, newest.data["run_id"], after=newest.id)
        assert list(coming) == rest


def test_an_unknown_run_cannot_be_streamed(here: httpx.Client) -> None:
    answer = here.get(f"/api/v1/runs/{uuid4()}/events")
    assert (answer.status_code, answer.json()["code"]) == (404, "run_not_found")


def test_a_stranger_cannot_hear_a_run(here: httpx.Client, url: str, issuer: Issuer) -> None:
    run = started(here, message="Hi")
    for tenant_id in (TENANT, uuid4()):
        with client(url, issuer.token(tenant_id=tenant_id, role="owner")) as stranger:
            assert stranger.get(f"/api/v1/runs/{run['id']}/events").status_code == 404
    until(ended(here, run["id"]))


@pytest.mark.parametrize("after", [0, 1, 99])
def test_an_expired_log_is_an_error_at_every_replica(
    here: httpx.Client, there: httpx.Client, redis_url: str, after: int
) -> None:
    run = started(here, message="Hi")
    last = received_events(here, run["id"])[-1]
    with Redis.from_url(redis_url) as redis:
        until(lambda: redis.xlen(f"run:{{{run['id']}}}:events") == last.id)
        redis.flushall()
    path = f"/api/v1/runs/{run['id']}/events"
    for who in (there, here):
        until(lambda who=who: who.get(path, params={"after": after}).status_code == 410)


WAITING = "Please forget_conversation"


def test_a_run_that_waits_for_a_person_lets_its_readers_go(here: httpx.Client, there: httpx.Client) -> None:
    run = started(here, message=WAITING)
    with ThreadPoolExecutor() as pool:
        received = [pool.submit(received_events, who, run["id"]) for who in (here, there)]
        mine, others = (one.result() for one in received)
    assert mine == others
    assert [event.type for event in mine][-2:] == ["approval.required", "run.waiting"]
    path = f"/api/v1/runs/{run['id']}/events"
    assert there.get(path, params={"after": mine[-1].id}).status_code == 204
    answer = f"/api/v1/runs/{run['id']}/approvals/{mine[-2].data['approval_id']}"
    # It goes on where the answer was given.
    assert there.post(answer, json={"approve": False}).status_code == 200
    rest = received_events(here, run["id"], after=mine[-1].id)
    assert [event.id for event in mine + rest] == list(range(1, len(mine + rest) + 1))
    assert (rest[0].type, rest[-1].type) == ("run.resumed", "run.completed")


def left_behind(settings: Settings, status: str, **columns: str) -> str:
    """Make a run that is over, or rests, as its owner has committed it; gives its id."""
    url, run_id = settings.database_url.get_secret_value(), str(uuid4())
    query(
        url,
        "insert into runs (id, tenant_id, user_id, conversation_id, agent, model, message, started_at)"
        " values ($1, $2, $3, $4, 'triage', 'm', 'Hi', now())",
        *(run_id, TENANT, ANN, str(uuid4())),
    )
    changes = ", ".join(f"{name} = {value}" for name, value in {"status": f"'{status}'", **columns}.items())
    query(url, f"update runs set {changes} where id = $1", run_id)  # noqa: S608  # of this test's own
    return run_id


def append_events(redis_url: str, run_id: str, *types: str) -> None:
    with Redis.from_url(redis_url) as redis:
        for seq, type_ in enumerate(types, 1):
            data = f'{{"type":"{type_}","seq":{seq},"run_id":"{run_id}"}}'
            redis.xadd(f"run:{{{run_id}}}:events", {"type": type_, "data": data}, id=f"{seq}-0")


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make readers look sooner for an end that is not in the log."""
    monkeypatch.setattr(store, "BLOCK_MS", 200)


@pytest.mark.usefixtures("impatient")
def test_an_end_that_was_committed_and_not_published_is_published_once(
    here: httpx.Client, there: httpx.Client, settings: Settings, redis_url: str
) -> None:
    run_id = left_behind(settings, "completed", output="'Done.'", ended_at="now()")
    append_events(redis_url, run_id, "run.started")
    with ThreadPoolExecutor() as pool:
        received = [pool.submit(received_events, who, run_id) for who in (here, there)]
        mine, others = (one.result() for one in received)
    assert [(event.id, event.type) for event in mine] == [(1, "run.started"), (2, "run.completed")]
    assert mine == others
    assert mine[-1].data["output"] == "Done."
    assert received_events(here, run_id) == mine


@pytest.mark.usefixtures("impatient")
def test_an_approval_that_was_committed_and_not_published_is_published(
    there: httpx.Client, here: httpx.Client, settings: Settings, redis_url: str
) -> None:
    run_id = left_behind(settings, "waiting", waiting_until="now() + interval '1 hour'")
    approval_id = str(uuid4())
    query(
        settings.database_url.get_secret_value(),
        "insert into approvals (id, run_id, call_id, agent, name, arguments)"
        " values ($1, $2, 'call', 'triage', 'forget_conversation', '{}')",
        *(approval_id, run_id),
    )
    append_events(redis_url, run_id, "run.started")
    with ThreadPoolExecutor() as pool:
        received = [pool.submit(received_events, who, run_id) for who in (here, there)]
        mine, others = (one.result() for one in received)
    assert [event.type for event in mine] == ["run.started", "approval.required", "run.waiting"]
    assert mine[1].data["approval_id"] == approval_id
    assert mine == others
