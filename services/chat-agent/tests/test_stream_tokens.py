"""A stream stands for as long as the token is good that it was opened with; the run itself goes on."""

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import httpx
import pytest
from chat_agent.main import create_app
from redis.asyncio import Redis
from servicekit.auth.revocations import format_entry, publish
from testkit.live_server import NO_AUTHORITIES, serving
from testkit.sse import events
from testkit.token_matrix import API_KEY

from .client_helpers import ENDLESS, RUNS, STREAM, start_streaming_run
from .protocols.test_routes import STREAMS

SLOWLY = "Slowly [sandbox: tokens=6000] [sandbox: rate=60/s]"
TERMINAL = {"run.completed", "run.failed", "run.cancelled", "run.waiting"}
LEEWAY_SECONDS = 30
# Longer ago than any other test has begun.
DAY_SECONDS = 86_400
Open = Callable[..., httpx.Client]


@pytest.fixture
def signed_in(url: str, issuer) -> Iterator[Open]:
    """Return a client of somebody, whose token says more, or something else."""
    clients: list[httpx.Client] = []

    def open_(**claims: Any) -> httpx.Client:
        headers = {"Authorization": f"Bearer {issuer.token(role='member', **claims)}"}
        clients.append(httpx.Client(base_url=url, headers=headers, timeout=60, verify=NO_AUTHORITIES))
        return clients[-1]

    yield open_
    for one in clients:
        one.close()


@pytest.fixture
def revoke(redis_url: str) -> Callable[[str, str], None]:
    """Return a function that revokes something, as auth does."""

    async def revoked(kind: str, name: str) -> None:
        async with Redis.from_url(redis_url) as redis:
            await publish(redis, [format_entry(kind, name, time.time())])

    return lambda kind, name: asyncio.run(revoked(kind, name))


def started(answer: httpx.Response) -> Iterator[Any]:
    """Read a stream until the answer begins, and return the rest of its events."""
    assert answer.status_code == 200, answer.read()
    received, before = events(answer), []
    for event in received:
        if event.type == "message.delta":
            return received
        before.append(event)
    raise AssertionError(f"the stream ended before the answer began: {before}")


@pytest.mark.parametrize("message", [SLOWLY, ENDLESS], ids=["talking", "silent"])
def test_a_session_that_ends_closes_its_streams_and_no_others(signed_in, revoke, message) -> None:
    who = {"tenant_id": uuid4(), "subject": f"user:{uuid4()}"}
    ended = str(uuid4())
    ann, again = signed_in(**who, sid=ended), signed_in(**who)
    run = start_streaming_run(again, message)
    path = f"{RUNS}/{run['id']}/events"
    with ann.stream("GET", path) as answer, again.stream("GET", path) as other:
        received, others = started(answer), events(other)
        revoke("session", ended)
        received_events = [event.type for event in received]
        assert not TERMINAL & {*received_events}
        # It can go on from where it was, with a token that is good; and not with this one.
        assert ann.get(path, headers={"Last-Event-ID": "3"}).status_code == 401
        assert again.get(f"{RUNS}/{run['id']}").json()["status"] == "running"
        assert again.post(f"{RUNS}/{run['id']}/cancel").status_code == 200
        assert [event.type for event in others][-1] == "run.cancelled"


def test_the_end_of_every_session_closes_the_streams_of_all_that_were_proved_before(
    signed_in, redis_url
) -> None:
    who = {"tenant_id": uuid4(), "subject": f"user:{uuid4()}"}
    now = int(time.time())
    old, recent = signed_in(**who, auth_time=now - 2 * DAY_SECONDS), signed_in(**who, auth_time=now)
    run = start_streaming_run(recent, SLOWLY)
    path = f"{RUNS}/{run['id']}/events"

    async def end_every_session() -> None:
        async with Redis.from_url(redis_url) as redis:
            await publish(redis, [format_entry("session", "*", now - DAY_SECONDS)])

    with old.stream("GET", path) as answer:
        received = started(answer)
        asyncio.run(end_every_session())
        assert not TERMINAL & {event.type for event in received}
        assert old.get(path).status_code == 401
    assert recent.post(f"{RUNS}/{run['id']}/cancel").status_code == 200


def test_the_stream_ends_with_its_token_and_the_run_does_not(signed_in, app, monkeypatch) -> None:
    who = {"tenant_id": uuid4(), "subject": f"user:{uuid4()}"}
    now = int(time.time())
    # A minute from now, there is no leeway left either.
    ending = signed_in(**who, iat=now - 600, nbf=now - 600, exp=now - LEEWAY_SECONDS + 60)
    with ending.stream("POST", STREAM, json={"message": SLOWLY}) as answer:
        run = f"{RUNS}/{answer.headers['acme-run-id']}"
        chunks = answer.iter_bytes()
        received = next(chunks)
        monkeypatch.setattr(app.state.resources.verifier, "_clock", lambda: time.time() + 60)
        received += b"".join(chunks)
    assert b"\n: the access token is no longer good\n" in received
    received_events = list(events(httpx.Response(200, headers=answer.headers, content=received)))
    assert received_events
    assert not TERMINAL & {event.type for event in received_events}
    assert ending.get(run).status_code == 401
    renewed = signed_in(**who)
    assert renewed.get(run).json()["status"] == "running"
    assert renewed.post(f"{run}/cancel").status_code == 200
    resumed = renewed.get(f"{run}/events", headers={"Last-Event-ID": str(received_events[-1].id)})
    numbers = [event.id for event in events(resumed)]
    assert numbers[:1] == [received_events[-1].id + 1]


@pytest.mark.parametrize(("path", "body"), STREAMS.items())
def test_other_protocols_report_that_the_token_has_expired(signed_in, revoke, path, body) -> None:
    who = {"tenant_id": uuid4(), "subject": f"user:{uuid4()}"}
    sid = str(uuid4())
    with signed_in(**who, sid=sid).stream("POST", path, json=body(SLOWLY)) as answer:
        lines = answer.iter_lines()
        next(line for line in lines if line.startswith("data:"))
        revoke("session", sid)
        received = [line.removeprefix("data: ") for line in lines if line.startswith("data: {")]
    texts = [json.loads(one) for one in received]
    assert any("token_expired" in json.dumps(one) for one in texts[-4:])
    cancelled = signed_in(**who).post(f"{RUNS}/{answer.headers['acme-run-id']}/cancel")
    assert cancelled.status_code == 200


def test_an_api_key_that_is_revoked_closes_its_streams(settings, auth_url, revoke) -> None:
    changes = {"auth_internal_url": auth_url}
    with (
        serving(create_app(settings.model_copy(update=changes))) as url,
        httpx.Client(
            base_url=url, headers={"Authorization": f"Bearer {API_KEY}"}, timeout=60, verify=NO_AUTHORITIES
        ) as machine,
        machine.stream("POST", STREAM, json={"message": SLOWLY}) as answer,
    ):
        received = started(answer)
        revoke("client", "ak.1")
        assert not TERMINAL & {event.type for event in received}
        assert machine.post(f"{RUNS}/{answer.headers['acme-run-id']}/cancel").status_code == 200
