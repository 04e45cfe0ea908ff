"""The stream of a tenant's billing events: replayed, then live, without gap or repeat."""

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from billing_webhook.billing_events.hub import CHANNEL, EventAnnouncer
from billing_webhook.billing_events.publish import publish
from billing_webhook.billing_events.retention import retention_rules
from billing_webhook.main import create_app
from billing_webhook.settings import Settings
from billing_webhook.worker import standalone_workers
from fastapi import FastAPI
from pydantic import SecretStr
from redis.asyncio import Redis
from sandbox.embedded import Valkey, free_port
from servicekit import erasure
from servicekit.app import create_service
from servicekit.auth.revocations import format_entry
from servicekit.auth.revocations import publish as revoke
from servicekit.database import Database
from servicekit.retention import RetentionWorker
from servicekit.workers.supervisor import running_all
from sqlalchemy import insert, text
from testkit.app import running
from testkit.eventually import time_limit, until_async
from testkit.live_server import serving
from testkit.service_process import ServiceProcess
from testkit.stopwatch import Stopwatch

from .stream_helpers import STREAM, Counted, Noted, commit, notes, reading

ON = {"enable_billing": True, "enable_billing_stream": True, "run_workers": False}
LEEWAY_SECONDS = 30


@pytest.fixture(scope="module")
def on(settings) -> Settings:
    return settings.model_copy(update=ON)


@pytest.fixture(scope="module")
def streaming(on) -> FastAPI:
    return create_app(on)


@pytest.fixture(scope="module")
def url(streaming) -> Iterator[str]:
    with serving(streaming) as url:
        yield url


@pytest.fixture
async def database(on) -> AsyncIterator[Database]:
    database = Database(on.database_url, name="test")
    yield database
    await database.close()


@pytest.fixture
async def announced(database, redis) -> AsyncIterator[Database]:
    """A replica that commits events, and announces them."""
    async with running_all([EventAnnouncer(database, redis)]):
        yield database


@pytest.fixture
async def open_client(issuer) -> AsyncIterator[Callable[..., httpx.AsyncClient]]:
    async with contextlib.AsyncExitStack() as stack:

        def client(url: str, tenant: Any, **claims: Any) -> httpx.AsyncClient:
            headers = {
                "Authorization": f"Bearer {issuer.token(**{'role': 'viewer', **claims}, tenant_id=tenant)}"
            }
            http = httpx.AsyncClient(base_url=url, headers=headers, timeout=60)
            stack.push_async_callback(http.aclose)
            return http

        yield client


@pytest.fixture
def viewer(open_client, url, tenant) -> httpx.AsyncClient:
    return open_client(url, tenant)


async def test_numbers_events_in_the_order_of_their_commits(database, tenant, viewer) -> None:
    async def roll_back() -> None:
        async with database.begin() as db:
            await publish(db, Noted(text="undone"), tenant_id=tenant)
            raise RuntimeError

    work = [commit(database, tenant, Counted(number=number)) for number in range(12)]
    results = await asyncio.gather(*work, *(roll_back() for _ in range(4)), return_exceptions=True)
    assert sorted(one for one in results if isinstance(one, int)) == list(range(1, 13))
    async with reading(viewer, after=0) as stream:
        assert [event.id for event in await stream.events(12)] == list(range(1, 13))


async def test_replays_and_goes_on_live_without_gap_or_repeat(announced, tenant, open_client, url) -> None:
    """Every replica once sent old events again when it started, from a bookmark that could move backwards."""
    total = 260
    publishing = asyncio.create_task(
        commit(announced, tenant, *(Counted(number=number) for number in range(1, total + 1)))
    )

    async def read(after: int) -> list[int]:
        client = open_client(url, tenant)
        await until_async(lambda: asyncio.sleep(0, publishing.done() or after == 0))
        async with reading(client, after=after) as stream:
            received = await stream.events(total - after)
        assert all(event.data["seq"] == event.id == event.data["data"]["number"] for event in received)
        return [event.id for event in received]

    # One follows from the beginning, while they are committed; one replays what no single batch holds.
    assert await asyncio.gather(read(0), read(17)) == [
        list(range(1, total + 1)),
        list(range(18, total + 1)),
    ]
    await publishing


async def test_begins_with_the_next_event_by_default(announced, tenant, viewer) -> None:
    """Each connection was once sent all events that were there, and could not say where to go on."""
    await commit(announced, tenant, *notes("before", "before"))
    async with reading(viewer) as stream:
        first = await stream.next()
        assert (first.id, first.event, first.retry) == (2, None, 2000)
        await commit(announced, tenant, Noted(text="after"))
        event = await stream.event()
    assert (event.id, event.event) == (3, "billing.test.noted.v1")
    assert event.data.keys() == {"id", "seq", "type", "occurred_at", "data"}
    assert (event.data["seq"], event.data["type"], event.data["data"]) == (3, event.event, {"text": "after"})
    answer = await viewer.get(STREAM, headers={"Last-Event-ID": "nonsense"})
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_event_id")


async def test_many_streams_share_one_reader_of_redis(announced, tenant, redis, open_client, url) -> None:
    async with contextlib.AsyncExitStack() as stack:
        streams = [
            await stack.enter_async_context(reading(open_client(url, tenant, subject=f"user:{uuid4()}")))
            for _ in range(6)
        ]
        await until_async(lambda: has_subscriber(redis))
        await commit(announced, tenant, Noted(text="for all"))
        assert [(await stream.event()).id for stream in streams] == [1] * 6


async def test_a_lost_cursor_resets_to_the_oldest_event(database, tenant, viewer, on) -> None:
    await commit(database, tenant, *notes("old", "old", "new"))
    async with database.begin() as db:
        aged = text("update billing_events set occurred_at = now() - interval '91 days' where seq < 3")
        await db.execute(aged)
    await RetentionWorker(database, rules=retention_rules(on)).step()
    for cursor in (0, 1, 4, 99):
        async with reading(viewer, after=cursor) as stream:
            reset, event = await stream.events(2)
        assert (reset.event, reset.data, reset.id) == ("reset", {"oldest_seq": 3}, 2)
        assert (event.id, event.data["data"]) == (3, {"text": "new"})
    for cursor in (2, 3):
        async with reading(viewer, after=cursor) as stream:
            assert (await stream.next()).event is None


async def test_numbers_are_not_used_again_after_all_events_were_deleted(database, tenant, viewer, on) -> None:
    await commit(database, tenant, *notes("one", "two"))
    values = {"id": tenant, "version": 1, "purge_after": text("now() - interval '1 minute'")}
    async with database.begin() as db:
        await db.execute(insert(erasure.tenants).values(**values))
    await RetentionWorker(database, rules=retention_rules(on)).step()
    assert (await viewer.get(f"/api/v1/billing/tenants/{tenant}/events")).json()["items"] == []
    async with reading(viewer, after=1) as stream:
        assert (await stream.event()).data == {"oldest_seq": 3}
        assert await commit(database, tenant, Noted(text="three")) == 3
        assert (await stream.event()).id == 3


async def test_goes_on_by_polling_while_redis_is_away(on, database, tenant, open_client, tmp_path) -> None:
    with Valkey(tmp_path, free_port(), durable=True) as own:
        changed = on.model_copy(update={"redis_url": SecretStr(own.url)})
        with serving(create_app(changed)) as url:
            client = open_client(url, tenant)
            async with reading(client) as stream:
                await commit(database, tenant, Noted(text="with"))
                assert (await stream.event()).id == 1
                own.stop()
                await commit(database, tenant, Noted(text="without"))
                assert (await stream.event()).id == 2
                # One that reconnects is let in, too.
                async with reading(client, after=1) as other:
                    assert (await other.event()).id == 2
                own.start()
                async with Redis.from_url(own.url) as redis:
                    await until_async(lambda: has_subscriber(redis))
                    async with running_all([EventAnnouncer(database, redis)]):
                        await commit(database, tenant, Noted(text="again"))
                        assert (await stream.event()).id == 3


async def has_subscriber(redis: Redis) -> bool:
    [(_, number)] = await redis.pubsub_numsub(CHANNEL)
    return number == 1


async def test_announces_in_the_redis_that_is_set_for_it(on, database, tenant, open_client, tmp_path) -> None:
    with Valkey(tmp_path, free_port()) as own:
        changed = on.model_copy(update={"billing_events_redis_url": SecretStr(own.url)})
        with serving(create_app(changed)) as url:
            async with reading(open_client(url, tenant)) as stream, Redis.from_url(own.url) as redis:
                await until_async(lambda: has_subscriber(redis))
                async with running_all([EventAnnouncer(database, redis)]):
                    await commit(database, tenant, Noted(text="there"))
                    assert (await stream.event()).id == 1


async def test_a_heartbeat_tells_how_far_a_filtered_stream_has_come(
    on, database, tenant, open_client
) -> None:
    with serving(create_app(on.model_copy(update={"billing_stream_heartbeat_seconds": 0.1}))) as url:
        async with reading(open_client(url, tenant), type="billing.test.counted.v1") as stream:
            await commit(database, tenant, *notes("not wanted", "nor this"))
            while (frame := await stream.next()).id != 2:
                assert frame.event is None
            assert frame.comments == ["heartbeat"]
            await commit(database, tenant, Noted(text="no"), Counted(number=4))
            event = await stream.event()
            assert (event.id, event.event) == (4, "billing.test.counted.v1")


async def test_ends_after_its_time_and_can_be_resumed(on, database, tenant, open_client, viewer) -> None:
    with serving(create_app(on.model_copy(update={"billing_stream_lifetime_seconds": 0.5}))) as url:
        async with reading(open_client(url, tenant)) as stream:
            first, *_, last = await stream.rest()
    assert first.retry == 2000
    assert last.comments == ["the stream has reached its time limit"]
    await commit(database, tenant, Noted(text="meanwhile"))
    async with reading(viewer, after=first.id) as stream:
        assert (await stream.event()).id == 1


async def test_closes_the_stream_of_a_client_that_does_not_read(
    on, database, tenant, open_client, viewer, issuer
) -> None:
    changes = {
        "billing_stream_write_timeout_seconds": 0.3,
        "billing_stream_concurrent_limit": 1,
        "billing_stream_rate_limit_per_minute": 1000,
    }
    large = Noted(text="x" * 200_000)
    with serving(create_app(on.model_copy(update=changes))) as url:
        target, who = httpx.URL(url), {"subject": f"user:{uuid4()}"}
        token = issuer.token(tenant_id=tenant, role="viewer", **who)
        with socket.socket() as slow:
            slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            slow.connect((target.host, target.port))
            request = f"GET {STREAM}?after=0 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n"
            slow.sendall(request.encode())
            await commit(database, tenant, *[large] * 50)
            client = open_client(url, tenant, **who)

            async def slot_is_free() -> bool:
                async with client.stream("GET", STREAM) as answer:
                    return answer.status_code == 200

            await until_async(slot_is_free)
            received = await asyncio.to_thread(read_all, slow)
        complete = [int(line[4:]) for line in received.split(b"\n") if line.startswith(b"id: ")]
    assert complete[-1] < 50
    async with reading(viewer, after=complete[-1]) as stream:
        assert (await stream.event()).id == complete[-1] + 1


def read_all(connection: socket.socket) -> bytes:
    received = b""
    while part := connection.recv(1 << 20):
        received += part
    return received


async def test_limits_how_many_streams_are_open(open_client, url, tenant) -> None:
    subject = f"user:{uuid4()}"
    client = open_client(url, tenant, subject=subject)
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(3):
            await stack.enter_async_context(reading(client))
        refused = await client.get(STREAM)
        assert (refused.status_code, refused.json()["code"]) == (429, "concurrency_limited")
        assert int(refused.headers["Retry-After"]) > 0
        # Another user of the tenant has streams of their own.
        await stack.enter_async_context(reading(open_client(url, tenant)))

    async def is_admitted() -> bool:
        async with client.stream("GET", STREAM) as answer:
            return answer.status_code == 200

    await until_async(is_admitted)


async def test_limits_how_often_streams_start(on, open_client, tenant) -> None:
    changes = {"billing_stream_rate_limit_per_minute": 2, "billing_tenant_stream_rate_limit_per_minute": 3}
    with serving(create_app(on.model_copy(update=changes))) as url:

        async def start(client: httpx.AsyncClient) -> httpx.Response:
            async with client.stream("GET", STREAM) as answer:
                if answer.status_code != 200:
                    await answer.aread()
                return answer

        ann, bob = (open_client(url, tenant, subject=f"user:{uuid4()}") for _ in range(2))
        answers = [await start(client) for client in (ann, ann, ann, bob, bob)]
        assert [answer.status_code for answer in answers] == [200, 200, 429, 200, 429]
        assert answers[2].json()["code"] == "rate_limited"
        assert int(answers[2].headers["Retry-After"]) > 0
        assert (await start(open_client(url, uuid4()))).status_code == 200


async def test_the_limits_are_the_documented_ones_unless_set(on) -> None:
    limits = (on.billing_stream_rate_limit_per_minute, on.billing_stream_concurrent_limit)
    assert (*limits, on.billing_stream_heartbeat_seconds, on.billing_stream_lifetime_seconds) == (
        20,
        3,
        15,
        600,
    )


@pytest.mark.parametrize("kind", ["session", "subject"])
async def test_closes_when_the_membership_ends(open_client, url, tenant, redis, kind) -> None:
    who = {"subject": f"user:{uuid4()}", "sid": str(uuid4())}
    names = {"session": who["sid"], "subject": who["subject"]}
    async with reading(open_client(url, tenant, **who)) as stream, reading(open_client(url, tenant)) as other:
        await stream.next()
        await revoke(redis, [format_entry(kind, names[kind], time.time())])
        *_, last = await stream.rest()
        assert last.comments == ["the access token expired or was revoked"]
        assert (await other.next()).id == 0


async def test_closes_when_the_token_expires(open_client, url, tenant, streaming, monkeypatch) -> None:
    now = int(time.time())
    ending = open_client(url, tenant, iat=now - 600, nbf=now - 600, exp=now - LEEWAY_SECONDS + 60)
    async with reading(ending) as stream:
        await stream.next()
        monkeypatch.setattr(streaming.state.resources.verifier, "_clock", lambda: time.time() + 60)
        *_, last = await stream.rest()
    assert last.comments == ["the access token expired or was revoked"]
    assert (await ending.get(STREAM)).status_code == 401


async def test_ends_with_a_comment_when_the_process_stops(
    on, database, tenant, open_client, tmp_path, fork_server
) -> None:
    program = Path(__file__).with_name("replica.py")
    with ServiceProcess(fork_server(program), tmp_path / "log").start(on) as replica:
        client = open_client(replica.url, tenant)
        async with reading(client) as stream:
            await stream.next()
            with Stopwatch() as stopwatch:
                replica.terminate()
                *_, last = await stream.rest()
                assert await asyncio.to_thread(replica.wait) == 0
            assert last.comments == ["the server is restarting"]
            # The server would wait 20 s for a stream that does not end.
            assert stopwatch.seconds < 10


async def test_shows_nothing_of_other_tenants(database, tenant, open_client, url) -> None:
    other = uuid4()
    await commit(database, other, *notes("theirs", "theirs"))
    client = open_client(url, tenant)
    async with reading(client, after=0) as stream:
        await commit(database, other, Noted(text="theirs"))
        await commit(database, tenant, Noted(text="ours"))
        event = await stream.event()
    assert (event.id, event.data["data"]) == (1, {"text": "ours"})
    assert (await client.get(STREAM, headers={"X-Tenant-Id": str(other)})).status_code == 403
    answer = await client.get(f"/api/v1/billing/tenants/{other}/events")
    assert (answer.status_code, answer.json()["code"]) == (404, "tenant_not_found")


async def test_is_off_unless_it_is_turned_on(settings, on, open_client, tenant) -> None:
    for changes, code, variable in (
        ({"enable_billing": True}, "billing_stream_disabled", "ENABLE_BILLING_STREAM"),
        ({"enable_billing": False, "enable_billing_stream": True}, "billing_disabled", "ENABLE_BILLING"),
    ):
        with serving(create_app(settings.model_copy(update=changes))) as url:
            answer = await open_client(url, tenant).get(STREAM)
            assert (answer.status_code, answer.json()["code"]) == (404, code)
            assert f"{variable}=true" in answer.json()["detail"]
    with serving(create_app(on)) as url:
        async with httpx.AsyncClient(timeout=60) as anonymous:
            assert (await anonymous.get(f"{url}{STREAM}")).status_code == 401


async def test_without_replay_a_reset_says_that_events_are_missing(on, database, tenant, open_client) -> None:
    await commit(database, tenant, *notes("one", "two"))
    with serving(create_app(on.model_copy(update={"enable_billing_stream_replay": False}))) as url:
        client = open_client(url, tenant)
        async with reading(client, after=2) as stream:
            assert (await stream.next()).event is None
        async with reading(client, after=1) as stream:
            assert (await stream.event()).data == {"oldest_seq": 3}
            await commit(database, tenant, Noted(text="three"))
            assert (await stream.event()).id == 3


async def test_lists_events_by_page_the_newest_first(database, tenant, viewer) -> None:
    await commit(database, tenant, *notes("a", "b"), Counted(number=3), *notes("d", "e"))
    path, seqs, query = f"/api/v1/billing/tenants/{tenant}/events", [], {"limit": "2"}
    while True:
        page = (await viewer.get(path, params=query)).json()
        seqs.append([item["seq"] for item in page["items"]])
        if page["next_cursor"] is None:
            break
        query["cursor"] = page["next_cursor"]
    assert seqs == [[5, 4], [3, 2], [1]]
    counted = (await viewer.get(path, params={"type": "billing.test.counted.v1"})).json()
    assert [item["data"] for item in counted["items"]] == [{"number": 3}]
    assert (await viewer.get(path, params={"cursor": "nonsense"})).status_code == 400
    assert (await viewer.get(path, params={"type": "a b"})).status_code == 422


async def test_a_process_of_workers_alone_closes_its_connections_when_it_ends(on, redis, redis_url):
    """They were left open, and an event loop that warns of them while it closes waited for ever."""
    name = f"announcer-{uuid4().hex}"
    address = SecretStr(f"{redis_url}?client_name={name}")
    changed = on.model_copy(update={"run_workers": True, "billing_events_redis_url": address})

    async def is_connected():
        return any(one["name"] == name for one in await redis.client_list())

    async def is_disconnected():
        return not await is_connected()

    app = create_service("billing-webhook", changed, workers=standalone_workers)
    async with time_limit():
        async with running(app):
            await commit(app.state.resources.database, uuid4(), *notes("new"))
            await until_async(is_connected)
        await until_async(is_disconnected)
