"""Revocations on a real Redis; what a process knows is asked as a verifier asks it."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated, Any
from uuid import uuid4

import pytest
from fastapi import APIRouter
from prometheus_client import REGISTRY
from redis.asyncio import Redis
from redis.exceptions import ConnectionError
from sandbox.embedded import Valkey
from servicekit.app import create_service
from servicekit.auth import revocations
from servicekit.auth.dependencies import require
from servicekit.auth.permissions import Role
from servicekit.auth.revocations import KEY, REMEMBERED_SECONDS, Revocations, format_entry, publish
from servicekit.auth.tokens import Principal
from servicekit.settings import ServiceSettings
from servicekit.workers.supervisor import running_all
from testkit.app import client, running
from testkit.databases import Databases
from testkit.eventually import time_limit

NOW = int(time.time())
ANN, BOB = (f"user:{n * 8}-{n * 4}-4{n * 3}-8{n * 3}-{n * 12}" for n in "12")


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    async with Redis.from_url(redis_url) as connected:
        yield connected


def principal(**changes: Any) -> Principal:
    base: dict[str, Any] = {
        "subject": ANN,
        "tenant_id": uuid4(),
        "role": Role.MEMBER,
        "scopes": frozenset(),
        "client_id": "acme-web",
        "session_id": "a-session",
        "token_id": "a-token",
        "email_verified": True,
        "amr": (),
        "auth_time": None,
        "audience": ("acme-api",),
        "expires_at": NOW + 600,
        "issued_at": NOW,
    }
    return Principal(**{**base, **changes})


async def fresh(redis: Redis, **options: Any) -> Revocations:
    feed = Revocations(redis, "shop", **options)
    await feed.step()
    return feed


async def test_covers_a_tenants_machines_and_not_the_sessions_of_its_people(redis):
    tenant = uuid4()
    machine = {"subject": "service:sa.one", "client_id": "sa.one", "session_id": None}
    feed = await fresh(redis)
    await publish(redis, [format_entry("tenant", str(tenant), NOW + 0.9)])
    await feed.step()
    assert await feed.is_revoked(principal(**machine, tenant_id=tenant))
    assert not await feed.is_revoked(principal(**machine, tenant_id=tenant, issued_at=NOW + 1))
    assert not await feed.is_revoked(principal(**machine, tenant_id=uuid4()))
    assert not await feed.is_revoked(principal(**machine, tenant_id=None))
    assert not await feed.is_revoked(principal(tenant_id=tenant))


@pytest.mark.parametrize(
    ("kind", "name", "other"),
    [
        ("session", "a-session", principal(session_id="another")),
        ("token", "a-token", principal(token_id="another")),
        ("subject", ANN, principal(subject=BOB)),
        ("client", "acme-web", principal(client_id="another")),
    ],
    ids=["session", "token", "subject", "client"],
)
async def test_covers_what_was_revoked_and_nothing_else(redis, kind, name, other):
    feed = await fresh(redis)
    assert not await feed.is_revoked(principal())
    await publish(redis, [format_entry(kind, name, NOW + 0.9)])
    await feed.step()
    assert await feed.is_revoked(principal())
    assert not await feed.is_revoked(other)


@pytest.mark.parametrize("kind", ["subject", "client"])
async def test_lets_what_was_issued_later_pass(redis, kind):
    name = {"subject": ANN, "client": "acme-web"}[kind]
    await publish(redis, [format_entry(kind, name, NOW), format_entry(kind, name, NOW - 30)])
    feed = await fresh(redis)
    assert await feed.is_revoked(principal(issued_at=NOW - 1))
    assert not await feed.is_revoked(principal(issued_at=NOW + 1))
    await publish(redis, [format_entry(kind, name, NOW + 5)])
    await feed.step()
    assert await feed.is_revoked(principal(issued_at=NOW + 1))


@pytest.mark.parametrize("proved", ["auth_time", "issued_at"])
async def test_every_session_that_was_proved_before_a_time_is_over_and_no_machine_is(redis, proved):
    await publish(redis, [format_entry("session", "*", NOW)])
    # Also in a process that starts later.
    feed = await fresh(redis)
    assert await feed.is_revoked(principal(**{proved: NOW - 1}))
    assert not await feed.is_revoked(principal(**{proved: NOW}))
    assert not await feed.is_revoked(principal(**{proved: NOW - 1, "session_id": None}))


async def test_a_token_issued_later_for_a_session_that_was_proved_before_is_refused_too(redis):
    await publish(redis, [format_entry("session", "*", NOW)])
    assert await (await fresh(redis)).is_revoked(principal(auth_time=NOW - 1, issued_at=NOW + 5))


async def test_a_session_is_over_for_good(redis):
    await publish(redis, [format_entry("session", "a-session", NOW - 60)])
    assert await (await fresh(redis)).is_revoked(principal(issued_at=NOW + 60))


async def test_a_token_without_a_session_is_not_taken_for_one(redis):
    await publish(redis, [format_entry("session", "a-session", NOW)])
    feed = await fresh(redis)
    assert not await feed.is_revoked(principal(session_id=None))


async def test_reads_more_than_a_page_and_all_that_came_meanwhile(redis):
    feed = await fresh(redis)
    for part in range(3):
        await publish(redis, [format_entry("session", f"{part}-{n}", NOW) for n in range(revocations.PAGE)])
    await publish(redis, [format_entry("session", "last", NOW)])
    await feed.step()
    for name in ("0-0", "1-500", "2-999", "last"):
        assert await feed.is_revoked(principal(session_id=name)), name


async def test_asks_only_for_what_is_new(redis):
    feed = await fresh(redis)
    await publish(redis, [format_entry("session", "told", NOW)])
    await feed.step()
    # As if it had been told long before what was read last.
    await redis.zadd(KEY, {format_entry("session", "old", NOW): 1})
    await feed.step()
    assert not await feed.is_revoked(principal(session_id="old"))
    await feed.begin()
    await feed.step()
    assert await feed.is_revoked(principal(session_id="old"))


async def test_telling_again_changes_nothing(redis):
    one = format_entry("session", "a-session", NOW)
    await publish(redis, [one])
    score = await redis.zscore(KEY, one)
    await publish(redis, [one])
    assert await redis.zscore(KEY, one) == score
    assert 0 < await redis.ttl(KEY) <= REMEMBERED_SECONDS


async def test_forgets_when_no_token_can_be_left(redis):
    now = 1000.0
    await publish(redis, [format_entry("session", "a-session", NOW)])
    feed = await fresh(redis, clock=lambda: now)
    now += REMEMBERED_SECONDS - 1
    await redis.flushall()
    await feed.step()
    assert await feed.is_revoked(principal())
    now += 2
    await feed.step()
    assert not await feed.is_revoked(principal())
    assert REMEMBERED_SECONDS > 900 + 60


async def test_clears_redis_of_what_is_too_old(redis):
    await redis.zadd(
        KEY, {format_entry("session", "old", NOW): (time.time() - REMEMBERED_SECONDS - 5) * 1_000_000}
    )
    await publish(redis, [format_entry("session", "new", NOW)])
    assert await redis.zrange(KEY, 0, -1) == [format_entry("session", "new", NOW).encode()]


async def test_passes_over_what_it_cannot_read(redis):
    await redis.zadd(KEY, {"nonsense": 1, "session:x@soon": 2, format_entry("session", "a-session", NOW): 3})
    assert await (await fresh(redis)).is_revoked(principal())


def age(service: str) -> float | None:
    return REGISTRY.get_sample_value("revocations_age_seconds", {"service": service})


async def test_goes_on_refusing_what_it_knew_while_redis_is_away_and_tells_its_age(tmp_path: Path):
    now = 1000.0
    with Valkey(tmp_path, durable=False) as server:
        redis = Redis.from_url(server.url, retry=None)
        await publish(redis, [format_entry("session", "a-session", NOW)])
        feed = Revocations(redis, "far", clock=lambda: now)
        await feed.step()
    now += 30
    with pytest.raises(ConnectionError):
        await feed.step()
    assert await feed.is_revoked(principal())
    assert age("far") == 30
    await feed.warmup()
    await redis.aclose()


router = APIRouter()


@router.get("/seen")
async def seen(caller: Annotated[Principal, require("conversations:read")]) -> str:
    return caller.subject


@pytest.fixture
def settings(common_settings: dict[str, Any], databases: Databases) -> ServiceSettings:
    return ServiceSettings(
        **common_settings,
        run_workers=False,
        database_url=databases.fresh("shop"),
    )


async def test_a_revocation_wakes_whoever_would_else_read_in_an_hour(redis, until):
    feed = Revocations(redis, "shop", every=3600)
    async with running_all([feed]):
        for session in ("first", "second"):
            # A subscription misses what is published before it; that is read by the step that follows it.
            await publish(redis, [format_entry("session", session, NOW)])
            await until(lambda session=session: feed.is_revoked(principal(session_id=session)))


async def test_every_service_refuses_what_was_revoked_even_where_no_workers_run(redis, settings, issuer):
    await publish(redis, [format_entry("session", "before", NOW)])
    app = create_service("shop", settings, routers=[router])
    token, ended_before = issuer.token(sid="mine"), issuer.token(sid="before")
    async with running(app), client(app, token) as mine, client(app, ended_before) as other:
        assert (await mine.get("/seen")).status_code == 200
        # Known from the first request on.
        assert (await other.get("/seen")).json()["code"] == "invalid_token"
        await publish(redis, [format_entry("session", "mine", NOW)])
        async with time_limit():
            while (answer := await mine.get("/seen")).status_code == 200:  # noqa: ASYNC110  # it asks
                await asyncio.sleep(0.02)
        assert (answer.status_code, answer.json()["code"]) == (401, "invalid_token")
        assert answer.headers["www-authenticate"] == 'Bearer error="invalid_token"'
