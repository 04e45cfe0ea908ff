"""Redis, Postgres or the conversation service go away for a while, and come back: runs wait, and go on."""

import logging
import os
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import httpx
import pytest
from chat_agent.main import create_app
from chat_agent.settings import Settings
from pydantic import SecretStr
from redis import Redis
from sandbox.embedded import Valkey
from sqlalchemy.engine import make_url
from testkit.databases import query
from testkit.eventually import until
from testkit.issuer import Issuer
from testkit.live_server import NO_AUTHORITIES, serving
from testkit.proxy import Proxy
from testkit.sse import Event, events

STREAM = "/api/v1/chat/stream"
PAUSING = {"message": "Slowly [sandbox: tokens=80, rate=25/s, pause-after=20]"}
# Longer than a busy machine keeps a replica from renewing it.
LEASE = 5.0
# So many events has every run before the pause, however few a machine that stands still makes of its words.
BEGINNING = 3


@pytest.fixture(scope="module")
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"run_lease_seconds": LEASE})


@pytest.fixture
def at(issuer: Issuer) -> Iterator[Callable[[str], httpx.Client]]:
    """Return the same person's client of any replica."""
    token = issuer.token(tenant_id=uuid4(), role="member")
    clients: list[httpx.Client] = []

    def client_for(url: str) -> httpx.Client:
        headers = {"Authorization": f"Bearer {token}"}
        clients.append(httpx.Client(base_url=url, headers=headers, timeout=60, verify=NO_AUTHORITIES))
        return clients[-1]

    yield client_for
    for one in clients:
        one.close()


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor() as pool:
        yield pool


class Listener:
    """Somebody who hears a run from its beginning to its end, meanwhile."""

    def __init__(self) -> None:
        self.received: list[Event] = []
        self.end: Future[None]

    def collect(self, client: httpx.Client, method: str, path: str, **message: Any) -> None:
        with client.stream(method, path, **message) as answer:
            assert answer.status_code == 200, answer.read()
            for event in events(answer):
                self.received.append(event)

    def wait_for_events(self, many: int) -> None:
        """Wait until so many events have come; raises what has ended the stream before."""
        until(lambda: len(self.received) >= many or self.end.done())
        if len(self.received) < many:
            self.end.result()

    def all(self) -> list[Event]:
        """Wait for the end; gives all that came."""
        until(self.end.done)
        self.end.result()
        return self.received


def asking(pool: ThreadPoolExecutor, client: httpx.Client, message: dict[str, Any]) -> Listener:
    listener = Listener()
    listener.end = pool.submit(listener.collect, client, "POST", STREAM, json=message)
    listener.wait_for_events(1)
    return listener


def listening(pool: ThreadPoolExecutor, client: httpx.Client, run_id: str) -> Listener:
    listener = Listener()
    listener.end = pool.submit(listener.collect, client, "GET", f"/api/v1/runs/{run_id}/events")
    listener.wait_for_events(1)
    return listener


def assert_is_whole(received: list[Event], settings: Settings) -> None:
    """Check the ids of a stream's events, and that its texts, its end and the row agree."""
    assert [event.id for event in received] == list(range(1, len(received) + 1))
    assert [event.type for event in received if event.type.startswith("run.")] == [
        "run.started",
        "run.completed",
    ]
    texts = "".join(event.data["delta"] for event in received if event.type == "message.delta")
    (run,) = rows(settings, received[0].data["run_id"])
    assert texts == received[-1].data["output"] == run["output"]
    # Nobody has taken it from the replica that was working on it all the time.
    assert (run["status"], run["attempt"]) == ("completed", 1)


def rows(settings: Settings, run_id: str) -> list[Any]:
    return query(settings.database_url.get_secret_value(), "select * from runs where id = $1", run_id)


def wait(seconds: float) -> None:
    """Prolong an outage."""
    ends = time.monotonic() + seconds
    until(lambda: time.monotonic() > ends)


@pytest.fixture(params=["keeps", "loses"])
def valkey(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    """A Redis of this test's own, which keeps or loses what it has when it is killed."""
    with Proxy(0) as free:
        port = free.port
    is_durable = request.param == "keeps"
    with Valkey(tmp_path_factory.mktemp("valkey"), port, durable=is_durable) as server:
        yield server


def test_redis_dies_in_mid_sentence_and_nothing_is_missing(
    valkey: Valkey, settings: Settings, at, pool: ThreadPoolExecutor, resume_model: Callable[[], None]
) -> None:
    own = settings.model_copy(update={"redis_url": SecretStr(valkey.url)})
    with serving(create_app(own)) as one, serving(create_app(own)) as other:
        here = asking(pool, at(one), PAUSING)
        there = listening(pool, at(other), here.received[0].data["run_id"])
        there.wait_for_events(BEGINNING)
        os.kill(valkey.pid, signal.SIGKILL)
        until(lambda: not valkey.is_running)
        resume_model()
        wait(2)
        valkey.start()
        received = here.all()
        assert_is_whole(received, settings)
        assert there.all() == received
        assert listening(pool, at(other), received[0].data["run_id"]).all() == received


def test_redis_forgets_everything_in_mid_sentence(
    settings: Settings, at, pool: ThreadPoolExecutor, redis_url: str, resume_model: Callable[[], None]
) -> None:
    with serving(create_app(settings)) as one, serving(create_app(settings)) as other:
        here = asking(pool, at(one), PAUSING)
        there = listening(pool, at(other), here.received[0].data["run_id"])
        there.wait_for_events(BEGINNING)
        with Redis.from_url(redis_url) as redis:
            redis.flushall()
            redis.script_flush()
        resume_model()
        received = here.all()
        assert_is_whole(received, settings)
        assert there.all() == received


def test_a_reader_of_what_is_over_and_lost_is_let_go(
    settings: Settings, at, pool: ThreadPoolExecutor, redis_url: str, other_services
) -> None:
    with serving(create_app(settings)) as one, serving(create_app(settings)) as other:
        here = asking(pool, at(one), {"message": "Hello"})
        run_id = here.received[0].data["run_id"]
        log = f"run:{{{run_id}}}:events"
        with Redis.from_url(redis_url) as redis:
            here.all()
            until(lambda: b"run.completed" in redis.xrevrange(log, count=1)[0][1].values())
            # As if nothing had come after the third.
            for id_, _ in redis.xrange(log)[3:]:
                redis.xdel(log, id_)
            there = listening(pool, at(other), run_id)
            there.wait_for_events(3)
            redis.delete(log)
        assert len(there.all()) == 3


@pytest.fixture
def proxied(settings: Settings, postgres) -> Iterator[tuple[Proxy, Settings]]:
    """The way to Postgres, and the settings of a replica that goes there on it."""
    with Proxy(postgres.port) as proxy:
        url = make_url(settings.database_url.get_secret_value()).set(port=proxy.port)
        way = SecretStr(url.render_as_string(hide_password=False))
        yield proxy, settings.model_copy(update={"database_url": way})


@pytest.mark.parametrize("how", [Proxy.cut, Proxy.stalled])
def test_postgres_is_away_at_the_end_of_a_run(
    proxied, settings: Settings, at, pool: ThreadPoolExecutor, other_services, resume_model, how
) -> None:
    proxy, own = proxied
    with serving(create_app(own)) as one, serving(create_app(own)) as other:
        here = asking(pool, at(one), PAUSING)
        conversation_id, run_id = here.received[0].data["conversation_id"], here.received[0].data["run_id"]
        there = listening(pool, at(other), run_id)
        here.wait_for_events(BEGINNING)
        with how(proxy):
            resume_model()
            until(lambda: len(other_services.messages(conversation_id)) == 2)
            # For longer than its lease.
            wait(1.5 * LEASE)
            assert not here.end.done()
        received = here.all()
        assert_is_whole(received, settings)
        assert there.all() == received


@pytest.fixture
def allow_writes(settings: Settings, postgres) -> Iterator[Callable[[bool], None]]:
    """Return what sets whether sessions may write that begin from now on, as a failover does."""
    name = make_url(settings.database_url.get_secret_value()).database

    def allow(allowed: bool) -> None:
        word = "off" if allowed else "on"
        query(postgres.admin_url, f'alter database "{name}" set default_transaction_read_only = {word}')

    yield allow
    allow(True)


def test_no_run_is_taken_over_after_postgres_took_no_writes(
    proxied, settings: Settings, at, pool: ThreadPoolExecutor, allow_writes, resume_model
) -> None:
    proxy, own = proxied
    with serving(create_app(own)) as one, serving(create_app(own)) as other:
        here = asking(pool, at(one), PAUSING)
        there = listening(pool, at(other), here.received[0].data["run_id"])
        here.wait_for_events(BEGINNING)
        with proxy.cut():
            allow_writes(False)
        # For longer than its lease.
        wait(1.5 * LEASE)
        with proxy.cut():
            allow_writes(True)
        resume_model()
        received = here.all()
        assert_is_whole(received, settings)
        assert there.all() == received


def test_who_claims_runs_waits_until_postgres_takes_writes(
    settings: Settings, allow_writes, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)

    def was_logged(event: str) -> bool:
        """Return whether this was logged by who claims runs, which writes nothing unless one is due."""
        return (event, "takeover") in [(one.message, getattr(one, "worker", "")) for one in caplog.records]

    allow_writes(False)
    with serving(create_app(settings)):
        until(lambda: was_logged("worker is held up"))
        allow_writes(True)
        until(lambda: was_logged("worker goes on"))


def test_the_conversation_service_is_away_in_mid_run(
    settings: Settings, at, pool: ThreadPoolExecutor, other_services, resume_model: Callable[[], None]
) -> None:
    with serving(create_app(settings)) as one:
        here = asking(pool, at(one), PAUSING)
        here.wait_for_events(BEGINNING)
        other_services.down = True
        resume_model()
        until(lambda: any(event.type == "item.completed" for event in here.received))
        message = [
            item["data"]["role"] for item in other_services.items[here.received[0].data["conversation_id"]]
        ]
        assert message == ["user"]
        other_services.down = False
        received = here.all()
        assert_is_whole(received, settings)
        assert other_services.messages(received[0].data["conversation_id"])[1:] == [
            ("assistant", received[-1].data["output"])
        ]
