"""Many attempts on one account at once: as many guesses as one after the other, and no right one is wrong."""

import asyncio
import random
from collections import Counter

import pytest
from auth.security import bounded_wait, lockout
from auth.security.lockout import Lockout
from redis.asyncio import Redis
from servicekit.rate_limits import ConcurrencyLimited, Limits
from testkit.eventually import time_limit

WRONG = "some other words again"
NOBODY = "nobody@example.com"
ADDRESS = b"where they all come from........"


async def sign_in(auth, password=None, email="ann@example.com", at="192.0.2.1"):
    body = {"email": email, "password": password or auth.password}
    return await auth.public.post("/api/v1/auth/token", json=body, headers={"X-Forwarded-For": at})


async def many(times, *args):
    """Sign in many times at once, each from an address of its own."""
    return await asyncio.gather(*(sign_in(*args, at=f"198.51.100.{n}") for n in range(times)))


def kinds(answers):
    return Counter((answer.status_code, answer.json().get("code")) for answer in answers)


@pytest.fixture
async def ann(auth):
    await auth.register()
    await auth.confirm()


@pytest.fixture
def judged(auth, monkeypatch):
    """Which passwords were looked at with the account's own hash; `hold` keeps all of them waiting."""

    class Judged(list):
        hold: asyncio.Event | None = None
        reached = asyncio.Semaphore(0)

    seen, passwords = Judged(), auth.app.state.services.passwords
    verify = passwords.verify

    async def noticed(password, kept):
        if kept is not None:
            seen.append(password)
        seen.reached.release()
        if seen.hold and kept is not None:
            await seen.hold.wait()
        return await verify(password, kept)

    monkeypatch.setattr(passwords, "verify", noticed)
    return seen


async def test_eight_devices_that_wake_at_once_all_get_in(auth, ann):
    assert kinds(await many(8, auth)) == {(200, None): 8}


async def test_fifty_right_passwords_at_once_are_never_taken_for_guesses(auth, ann, monkeypatch):
    monkeypatch.setattr(bounded_wait, "MAX_SECONDS", 0.1)
    answers = await many(50, auth)
    assert set(kinds(answers)) <= {(200, None), (429, "concurrency_limited")}
    assert kinds(answers)[200, None] >= 5
    for answer in answers:
        if answer.status_code == 429:
            assert answer.headers["retry-after"] == "1"
            assert answer.headers["ratelimit-policy"] == '"concurrency";q=5'
    # Nothing is left of it.
    assert (await sign_in(auth)).status_code == 200
    assert await auth.audited("authn_login_fail") == []


async def test_fifty_wrong_passwords_at_once_are_no_more_than_five(auth, ann, judged):
    answers = await many(50, auth, WRONG)
    assert set(kinds(answers)) <= {(401, "invalid_credentials"), (429, "concurrency_limited")}
    assert judged == [WRONG] * 5
    assert kinds([await sign_in(auth)]) == {(401, "invalid_credentials"): 1}
    assert len(await auth.mails("sign_in_blocked")) == 1


@pytest.mark.parametrize("times", [5, 6, 50])
async def test_an_address_without_an_account_is_answered_alike(auth, ann, times):
    known, unknown = await many(times, auth, WRONG), await many(times, auth, WRONG, NOBODY)
    assert set(kinds(known)) == set(kinds(unknown)) == {(401, "invalid_credentials")}


async def wait_for(semaphore, times):
    async with time_limit():
        for _ in range(times):
            await semaphore.acquire()


@pytest.mark.parametrize("password", [None, WRONG])
async def test_who_waits_too_long_gets_retry_after_whatever_they_sent(
    auth, ann, judged, monkeypatch, password
):
    monkeypatch.setattr(bounded_wait, "MAX_SECONDS", 0.1)
    judged.hold = asyncio.Event()
    under_way = asyncio.create_task(many(5, auth))
    await wait_for(judged.reached, 5)
    late = await sign_in(auth, password)
    assert (late.status_code, late.json()["code"]) == (429, "concurrency_limited")
    judged.hold.set()
    assert kinds(await under_way) == {(200, None): 5}
    assert len(judged) == 5


async def test_who_waits_gets_in_when_there_is_room(auth, ann, judged):
    judged.hold = asyncio.Event()
    all_of_them = asyncio.create_task(many(7, auth))
    await wait_for(judged.reached, 5)
    # Neither a connection to the database nor a place where passwords are hashed is taken by the other two.
    assert (await sign_in(auth, email=NOBODY)).status_code == 401
    assert len(judged) == 5
    judged.hold.set()
    assert kinds(await all_of_them) == {(200, None): 7}


async def test_waiting_takes_no_connection_from_others(start, ann):
    narrow = await start(database_pool_size=1)
    assert kinds(await many(8, narrow)) == {(200, None): 8}


async def test_only_so_many_wait(auth, ann, judged, monkeypatch):
    monkeypatch.setattr(bounded_wait, "MAX_WAITERS", 2)
    judged.hold = asyncio.Event()
    under_way = asyncio.create_task(many(5, auth))
    await wait_for(judged.reached, 5)
    others = [asyncio.create_task(sign_in(auth)) for _ in range(4)]
    first = asyncio.as_completed(others)
    assert kinds([await next(first) for _ in range(2)]) == {(429, "concurrency_limited"): 2}
    judged.hold.set()
    assert kinds([await one for one in first]) == {(200, None): 2}
    assert kinds(await under_way) == {(200, None): 5}


@pytest.fixture
async def counting(auth, redis_url):
    """The counting alone, and the Redis that it counts in."""
    async with Redis.from_url(redis_url) as redis:
        yield Lockout(auth.settings, Limits(redis), redis), redis


async def test_what_a_process_that_died_had_begun_stays_counted(counting, monkeypatch):
    lock, redis = counting
    monkeypatch.setattr(bounded_wait, "MAX_SECONDS", 0)
    for _ in range(5):
        await lock.start_attempt("a", None, ADDRESS)
    with pytest.raises(ConcurrencyLimited):
        await lock.start_attempt("a", None, ADDRESS)
    # As though its time were over.
    for key in await redis.keys("auth:failures:*:under-way"):
        for member in await redis.zrange(key, 0, -1):
            await redis.zadd(key, {member: 1})
    assert not (await lock.start_attempt("a", None, ADDRESS)).counted


async def test_a_success_forgets_failures_and_not_what_is_still_under_way(counting, monkeypatch):
    lock, _ = counting
    monkeypatch.setattr(bounded_wait, "MAX_SECONDS", 0)
    for _ in range(2):
        await lock.fail(await lock.start_attempt("a", None, ADDRESS))
    right, guess = await lock.start_attempt("a", None, ADDRESS), await lock.start_attempt("a", None, ADDRESS)
    await lock.succeed(right)
    for _ in range(4):
        await lock.fail(await lock.start_attempt("a", None, ADDRESS))
    with pytest.raises(ConcurrencyLimited):
        await lock.start_attempt("a", None, ADDRESS)
    await lock.fail(guess)
    assert not (await lock.start_attempt("a", None, ADDRESS)).counted


@pytest.mark.parametrize("seed", range(20))
async def test_in_whatever_order_no_more_is_judged_than_one_after_the_other(counting, monkeypatch, seed):
    lock, _ = counting
    monkeypatch.setattr(bounded_wait, "MAX_SECONDS", 0)
    chance = random.Random(seed)  # noqa: S311
    under_way, wrong_since = [], 0
    for _ in range(60):
        step = chance.choice(["begin", "begin", "fail", "pass", "take back"])
        if step == "begin":
            try:
                attempt = await lock.start_attempt("a", None, ADDRESS)
            except ConcurrencyLimited:
                # Only while it depends on somebody.
                assert under_way
                assert len(under_way) + wrong_since == 5
                continue
            if attempt.counted:
                under_way.append(attempt)
            else:
                assert wrong_since == 5
        elif under_way:
            attempt = under_way.pop(chance.randrange(len(under_way)))
            if step == "fail":
                await lock.fail(attempt)
                wrong_since += 1
            elif step == "pass":
                await lock.succeed(attempt)
                wrong_since = 0
            else:
                await lock.cancel(attempt)
        assert len(under_way) + wrong_since <= 5


async def test_known_devices_wait_for_each_other_too(counting, monkeypatch):
    lock, _ = counting
    monkeypatch.setattr(bounded_wait, "MAX_SECONDS", 0)
    begun = [await lock.start_attempt("a", f"device {n // 5}", ADDRESS) for n in range(10)]
    assert all(attempt.counted for attempt in begun)
    for known_by in ("device 0", "device 7"):
        with pytest.raises(ConcurrencyLimited):
            await lock.start_attempt("a", known_by, ADDRESS)
    # Strangers neither wait for them nor keep them waiting.
    assert (await lock.start_attempt("a", None, ADDRESS)).counted
    for attempt in begun:
        await lock.fail(attempt)
    assert not (await lock.start_attempt("a", "device 7", ADDRESS)).counted
    assert lockout.DEVICES_FACTOR == 2
