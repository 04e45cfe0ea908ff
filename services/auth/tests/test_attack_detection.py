import asyncio

import pytest
from prometheus_client import REGISTRY
from redis.asyncio import Redis

WRONG = "some other words again"
SPRAYING, STUFFING = "malicious_password_spraying", "malicious_credential_stuffing"


async def fail(auth, email, at):
    body = {"email": email, "password": WRONG}
    answer = await auth.public.post("/api/v1/auth/token", json=body, headers={"X-Forwarded-For": at})
    assert answer.status_code == 401, answer.text


async def seen(auth):
    return [len(await auth.audited(action)) for action in (SPRAYING, STUFFING)]


@pytest.fixture
async def operated(auth, start):
    """A service with an operator, and few failures that are an attack."""
    operator = await auth.somebody("op@example.com", tenant_name="Operators")
    return await start(
        auth_operator_tenant_id=operator["tenant_id"],
        auth_spraying_alarm_accounts=4,
        auth_stuffing_alarm_accounts=6,
        auth_stuffing_alarm_networks=3,
    )


async def test_sees_one_network_fail_with_many_accounts_once(operated):
    for n in range(3):
        await fail(operated, f"p{n}@example.com", f"198.51.100.{n}")
    # The same again is not one more.
    await fail(operated, "p0@example.com", "198.51.100.9")
    assert await seen(operated) == [0, 0]
    for n in range(3, 8):
        await fail(operated, f"p{n}@example.com", f"198.51.100.{n}")
    assert await seen(operated) == [1, 0]


async def test_other_networks_are_counted_on_their_own(operated):
    for n in range(5):
        await fail(operated, f"p{n}@example.com", f"198.51.{n % 2}.1")
    assert await seen(operated) == [0, 0]
    for n in range(4):
        await fail(operated, f"p{n}@example.com", f"2001:db8:1:{n}::1")
    assert await seen(operated) == [1, 0]


async def test_sees_many_networks_fail_with_many_accounts(operated):
    for n in range(5):
        await fail(operated, f"p{n}@example.com", f"198.51.{n}.1")
    assert await seen(operated) == [0, 0]
    for n in range(5, 9):
        await fail(operated, f"p{n}@example.com", f"198.51.{n}.1")
    assert await seen(operated) == [0, 1]


async def test_many_accounts_from_few_networks_are_no_stuffing(operated):
    for n in range(6):
        await fail(operated, f"p{n}@example.com", f"198.51.{n % 2}.1")
    assert await seen(operated) == [0, 0]


async def test_of_many_at_once_one_sounds_the_alarm(operated):
    await asyncio.gather(*(fail(operated, f"p{n}@example.com", f"198.51.{n}.1") for n in range(20)))
    assert await seen(operated) == [0, 1]


async def test_tells_the_operators_and_nobody_else_once_in_a_day(operated, redis_url):
    for network in range(2):
        for n in range(4):
            await fail(operated, f"p{n}@example.com", f"198.51.{network}.1")
    assert await seen(operated) == [2, 0]
    [mail] = await operated.mails("attack_seen")
    assert (mail["email"], mail["token"], mail["facts"]) == (
        "op@example.com",
        None,
        {"attack": "password_spraying"},
    )


async def test_operators_read_it_in_their_log_and_count_it(operated):
    counted = ("auth_attacks_detected_total", {"attack": "password_spraying"})
    before = REGISTRY.get_sample_value(*counted) or 0
    for n in range(4):
        await fail(operated, f"p{n}@example.com", "198.51.100.1")
    assert REGISTRY.get_sample_value(*counted) == before + 1
    operator = await operated.session("op@example.com")
    log = await operated.ask("GET", f"audit?action={SPRAYING}", operator)
    [event] = log.json()["items"]
    assert event["subject"] is None
    assert "p3" not in log.text


async def test_without_operators_it_is_written_down_all_the_same(start):
    auth = await start(auth_spraying_alarm_accounts=2)
    for n in range(2):
        await fail(auth, f"p{n}@example.com", "198.51.100.1")
    assert await seen(auth) == [1, 0]
    assert await auth.mails("attack_seen") == []


async def test_right_passwords_are_no_attack(operated):
    for n in range(4):
        await operated.register(f"p{n}@example.com")
        await operated.confirm()
        assert (await operated.sign_in(f"p{n}@example.com")).status_code == 200
    assert await seen(operated) == [0, 0]


async def test_sees_it_again_when_the_hour_is_over(operated, redis_url):
    for n in range(4):
        await fail(operated, f"p{n}@example.com", "198.51.100.1")
    async with Redis.from_url(redis_url) as redis:
        stored = [name async for name in redis.scan_iter("auth:attack:{*")]
        assert [await redis.pttl(name) > 3_590_000 for name in stored] == [True] * len(stored)
        await redis.delete(*stored)
    await fail(operated, "p0@example.com", "198.51.100.1")
    assert await seen(operated) == [1, 0]
    for n in range(1, 4):
        await fail(operated, f"p{n}@example.com", "198.51.100.1")
    assert await seen(operated) == [2, 0]


async def test_keeps_nobody_in_redis(operated, redis_url):
    await fail(operated, "ann@example.com", "198.51.100.77")
    async with Redis.from_url(redis_url) as redis:
        names = [name async for name in redis.scan_iter("auth:attack:*")]
        stored = b"".join([*names, *[await redis.get(name) for name in names]])
    assert names
    assert b"ann" not in stored
    assert b"198.51" not in stored
