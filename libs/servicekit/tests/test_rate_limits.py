"""Rates and slots: exact under a crowd, all or nothing, and closed when nobody can tell."""

import asyncio
import contextlib
import math
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import anyio
import pytest
from redis.asyncio import Redis
from sandbox.embedded import Valkey, free_port
from servicekit.rate_limits import (
    MICRO,
    Concurrency,
    ConcurrencyLimited,
    Grant,
    Limits,
    LimitsUnavailable,
    Quota,
    Rate,
    RateLimited,
    tenant_key,
)
from testkit.proxy import Proxy


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    async with Redis.from_url(redis_url) as client:
        yield client


@pytest.fixture
def limits(redis: Redis) -> Limits:
    # Patient, because these tests share a busy machine.
    return Limits(redis, timeout=10)


async def admitted(limits: Limits, *requested: Rate | Concurrency) -> Grant | None:
    with contextlib.suppress(RateLimited, ConcurrencyLimited):
        return await limits.admit(*requested)
    return None


async def test_a_rate_lets_exactly_its_limit_through_at_once(limits: Limits) -> None:
    answers = await asyncio.gather(*[admitted(limits, Rate("k", 20, 3600)) for _ in range(50)])
    quotas = [answer.quota for answer in answers if answer]
    assert sorted(quota.remaining for quota in quotas if quota) == list(range(20))


@pytest.mark.parametrize("limit", [1, 3, 7, 9, 60, 299])
async def test_a_rate_is_exact_whatever_its_limit(limits: Limits, limit: int) -> None:
    for left in reversed(range(limit)):
        assert (await limits.take("k", limit=limit, per=86_400)).remaining == left
    with pytest.raises(RateLimited):
        await limits.take("k", limit=limit, per=86_400)


async def test_a_rate_refills_evenly(limits: Limits, until: Any) -> None:
    rate = Rate("k", 10, 4)
    with pytest.raises(RateLimited) as refusal:
        await insatiable(limits, rate)
    assert 0 < refusal.value.quota.reset_after <= 0.4
    await until(lambda: admitted(limits, rate))


async def insatiable(limits: Limits, rate: Rate) -> None:
    while True:
        await limits.admit(rate)


async def test_rates_and_slots_that_nobody_uses_are_forgotten(
    limits: Limits, redis: Redis, until: Any
) -> None:
    async def forgotten() -> bool:
        return not await redis.keys("*")

    await limits.admit(Rate("k", 10, per=0.2), Concurrency("k", 1, ttl=0.1))
    await until(forgotten)


async def test_keys_have_limits_of_their_own(limits: Limits) -> None:
    for key in ("a", "b", "{t}:a", "{t}:b"):
        await limits.take(key, limit=1)
    with pytest.raises(RateLimited):
        await limits.take("a", limit=1)


async def test_a_refusal_says_when_to_come_again(limits: Limits) -> None:
    await limits.take("k", limit=1, per=3600)
    with pytest.raises(RateLimited) as refusal:
        await limits.take("k", limit=1, per=3600)
    error = refusal.value
    assert error.code() == "rate_limited"
    assert error.status == 429
    assert 3000 < (error.retry_after or 0) <= 3600
    assert error.headers == {
        "RateLimit": f'"default";r=0;t={math.ceil(error.retry_after or 0)}',
        "RateLimit-Policy": '"default";q=1;w=3600',
    }


def test_a_quota_can_be_sent_in_headers() -> None:
    assert Quota(limit=100, remaining=50, reset_after=29.2, per=60).headers() == {
        "RateLimit": '"default";r=50;t=30',
        "RateLimit-Policy": '"default";q=100;w=60',
    }


async def test_slots_let_exactly_their_limit_in_at_once(limits: Limits) -> None:
    answers = await asyncio.gather(*[admitted(limits, Concurrency("k", 7)) for _ in range(50)])
    assert len([answer for answer in answers if answer]) == 7


async def test_a_slot_is_free_again_when_the_block_ends(limits: Limits) -> None:
    for _ in range(3):
        async with limits.lease("k", limit=1):
            with pytest.raises(ConcurrencyLimited) as refusal:
                await limits.admit(Concurrency("k", 1))
    assert refusal.value.code() == "concurrency_limited"
    assert 0 < (refusal.value.retry_after or 0) <= 5
    assert refusal.value.headers["RateLimit-Policy"] == '"concurrency";q=1'


async def test_a_slot_is_free_again_when_the_block_fails(limits: Limits) -> None:
    with pytest.raises(ZeroDivisionError):
        await failing(limits)
    assert await admitted(limits, Concurrency("k", 1))


async def failing(limits: Limits) -> None:
    async with limits.lease("k", limit=1):
        raise ZeroDivisionError


async def test_a_slot_is_free_again_when_its_task_is_cancelled(limits: Limits) -> None:
    release = asyncio.Event()

    async def hold() -> None:
        async with limits.lease("k", limit=1):
            release.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(hold())
    await release.wait()
    task.cancel()
    await asyncio.wait({task})
    assert await admitted(limits, Concurrency("k", 1))


async def test_a_slot_is_free_again_when_the_client_goes_away(limits: Limits, redis: Redis) -> None:
    # The framework cancels a stream's scope, and in a cancelled scope every await is cancelled anew.
    release = asyncio.Event()

    async def hold() -> None:
        async with limits.lease("k", limit=1):
            release.set()
            await asyncio.Event().wait()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(hold)
        await release.wait()
        await redis.connection_pool.disconnect()
        tasks.cancel_scope.cancel()
    assert await admitted(limits, Concurrency("k", 1))


async def test_the_slot_of_a_process_that_died_frees_itself(limits: Limits, redis: Redis) -> None:
    slot = Concurrency("k", 1, ttl=3600)
    assert await admitted(limits, slot)
    assert not await admitted(limits, slot)
    await pass_time(redis, slot)
    assert await admitted(limits, slot)


async def pass_time(redis: Redis, slot: Concurrency) -> None:
    """Change what is stored as if as long had passed as a lease of a slot is held without being renewed."""
    key = f"slots:{{{slot.key}}}"
    for lease, expiry in await redis.zrange(key, 0, -1, withscores=True):
        await redis.zadd(key, {lease: expiry - slot.ttl * MICRO})


async def test_a_lease_in_use_outlasts_its_ttl(limits: Limits, until: Any) -> None:
    async def outlasts() -> bool:
        held, longer = str(uuid4()), Concurrency(str(uuid4()), 1, ttl=0.7)
        async with limits.lease(held, limit=1, ttl=0.6):
            assert await admitted(limits, longer)
            await until(lambda: admitted(limits, longer))
            return not await admitted(limits, Concurrency(held, 1))

    # A lease is lost while the machine stands still for longer than its ttl.
    await until(outlasts)


async def test_a_lease_can_be_renewed_by_hand_while_it_holds(limits: Limits, redis: Redis) -> None:
    slot = Concurrency("k", 1, ttl=3600)
    admission = await limits.admit(slot)
    before = await redis.zscore("slots:{k}", admission.lease.id)
    assert await admission.lease.renew()
    assert await redis.zscore("slots:{k}", admission.lease.id) > before
    await pass_time(redis, slot)
    assert not await admission.lease.renew()


async def test_a_released_lease_cannot_be_renewed(limits: Limits) -> None:
    admission = await limits.admit(Concurrency("k", 1))
    await admission.lease.release()
    assert not await admission.lease.renew()


async def test_a_short_lease_does_not_shorten_a_long_one(limits: Limits, until: Any) -> None:
    assert await admitted(limits, Concurrency("k", 2, ttl=60))
    assert await admitted(limits, Concurrency("k", 2, ttl=0.05))
    await until(lambda: admitted(limits, Concurrency("k", 2, ttl=60)))
    assert not await admitted(limits, Concurrency("k", 2, ttl=60))


async def test_rates_and_slots_are_granted_all_or_none(limits: Limits) -> None:
    tenant = uuid4()
    rate = Rate(tenant_key(tenant, "chat", "user:1"), 10, 3600)
    mine, ours = (
        Concurrency(tenant_key(tenant, "runs", "user:1"), 5),
        Concurrency(tenant_key(tenant, "runs"), 2),
    )
    answers = await asyncio.gather(*[admitted(limits, rate, mine, ours) for _ in range(50)])
    assert len([answer for answer in answers if answer]) == 2
    # Those who were refused have taken nothing of the rate, and nothing of the other slots.
    assert (await limits.take(rate.key, limit=10, per=3600)).remaining == 7
    assert len([1 for _ in range(5) if await admitted(limits, mine)]) == 3


async def test_one_lease_holds_all_slots_of_an_admission(limits: Limits) -> None:
    both = Concurrency("{t}:mine", 1), Concurrency("{t}:ours", 1)
    async with (await limits.admit(*both)).lease:
        assert not await admitted(limits, both[0])
        assert not await admitted(limits, both[1])
    assert await admitted(limits, *both)


async def test_the_tightest_rate_is_sent(limits: Limits) -> None:
    admission = await limits.admit(Rate("{t}:a", 10), Rate("{t}:b", 3))
    assert admission.quota
    assert (admission.quota.limit, admission.quota.remaining) == (3, 2)


async def test_the_limits_of_a_tenant_share_a_slot_of_a_cluster(limits: Limits, redis: Redis) -> None:
    tenant = uuid4()
    await limits.admit(Rate(tenant_key(tenant, "chat"), 10), Concurrency(tenant_key(tenant, "runs"), 10))
    keys = await redis.keys("*")
    assert len(keys) == 2
    assert all(f"{{{tenant}}}".encode() in key for key in keys)


async def test_nobody_is_let_in_while_redis_is_away(tmp_path: Any, until: Any) -> None:
    with Valkey(tmp_path, free_port()) as server:
        async with Redis.from_url(server.url, retry=None) as redis:
            limits = Limits(redis)
            async with limits.lease("k", limit=5):
                server.stop()
                with pytest.raises(LimitsUnavailable) as refusal:
                    await limits.take("k", limit=5)
                with pytest.raises(LimitsUnavailable):
                    await limits.admit(Concurrency("k", 5))
            assert (refusal.value.status, refusal.value.code()) == (503, "limits_unavailable")
            assert refusal.value.retry_after
            server.start()
            assert await limits.take("k", limit=5)


async def test_a_redis_that_does_not_answer_is_not_waited_for(redis_server: Valkey) -> None:
    with Proxy(redis_server.port) as proxy, proxy.stalled():
        url = redis_server.url.replace(f":{redis_server.port}/", f":{proxy.port}/")
        async with Redis.from_url(url, retry=None) as redis:
            with pytest.raises(LimitsUnavailable):
                await Limits(redis, timeout=0.05).take("k", limit=5)


@pytest.mark.parametrize("nonsense", [{"limit": 0}, {"limit": -1}, {"limit": 5, "per": 0}])
async def test_a_limit_of_nothing_is_refused(limits: Limits, nonsense: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="limit of at least 1"):
        await limits.take("k", **nonsense)
