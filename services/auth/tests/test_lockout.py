import asyncio
import json

import pytest
from auth import users
from auth.account import password_check
from auth.errors import TooManySignIns
from auth.security import lockout
from redis.asyncio import Redis
from sandbox.embedded import Valkey

WRONG = "some other words again"
OWNER, STRANGER = "203.0.113.7", "198.51.100.9"


async def sign_in(auth, password=None, *, at=STRANGER, email="ann@example.com", device=None):
    body = {"email": email, "password": password or auth.password}
    if device:
        body["device"] = device
    return await auth.public.post("/api/v1/auth/token", json=body, headers={"X-Forwarded-For": at})


async def fail(auth, times, **where):
    for _ in range(times):
        assert (await sign_in(auth, WRONG, **where)).status_code == 401


async def owner(auth):
    """Sign somebody up who has been inside once, at their own address."""
    await auth.register()
    await auth.confirm()
    return (await sign_in(auth, at=OWNER)).json()


async def pass_time(redis_url, key, seconds):
    """Advance the time of the counters whose names end so."""
    async with Redis.from_url(redis_url) as redis:
        async for name in redis.scan_iter(f"*:{key}"):
            left = await redis.pttl(name)
            await redis.pexpire(name, max(1, left - seconds * 1000))


async def forgive_addresses(redis_url):
    """Expire the counters of all addresses."""
    async with Redis.from_url(redis_url) as redis:
        for name in await redis.keys("auth:failures:{from:*"):
            await redis.delete(name)


async def test_lets_nobody_in_after_five_failures_not_even_with_the_password(auth):
    await owner(auth)
    await fail(auth, 5)
    answer = await sign_in(auth)
    assert (answer.status_code, answer.json()["code"]) == (401, "invalid_credentials")
    assert (await sign_in(auth, at="192.0.2.1")).status_code == 401


async def test_answers_exactly_as_to_a_wrong_password(auth):
    await owner(auth)
    before = await sign_in(auth, WRONG)
    await fail(auth, 4)
    locked, right = await sign_in(auth, WRONG), await sign_in(auth)
    bodies = [{**answer.json(), "request_id": ""} for answer in (before, locked, right)]
    assert bodies == [bodies[0]] * 3
    heads = [{**answer.headers, "x-request-id": ""} for answer in (before, locked, right)]
    assert heads == [heads[0]] * 3


async def test_hashes_for_a_locked_account_but_not_with_its_own_hash(auth, monkeypatch):
    await owner(auth)
    await fail(auth, 5)
    passwords, seen = auth.app.state.services.passwords, []
    verify = passwords.verify

    async def noticed(password, kept):
        seen.append(kept)
        return await verify(password, kept)

    monkeypatch.setattr(passwords, "verify", noticed)
    await sign_in(auth)
    assert seen == [None]


async def test_opens_again_when_the_time_is_over(auth, redis_url):
    await owner(auth)
    await fail(auth, 5)
    await pass_time(redis_url, "strangers", 3500)
    assert (await sign_in(auth)).status_code == 401
    await pass_time(redis_url, "strangers", 200)
    assert (await sign_in(auth)).status_code == 200


async def test_counts_failures_in_a_window(auth, redis_url):
    await owner(auth)
    await fail(auth, 4)
    await pass_time(redis_url, "strangers", 3601)
    await fail(auth, 4)
    assert (await sign_in(auth)).status_code == 200


async def test_begins_to_count_anew_after_a_success(auth):
    await owner(auth)
    for _ in range(3):
        await fail(auth, 4)
        assert (await sign_in(auth)).status_code == 200
    assert await auth.database.fetchval("select failed_sign_ins from users") == 0
    after = await auth.audited("authn_login_successafterfail")
    assert [json.loads(event["detail"])["failures"] for event in after] == [4, 4, 4]


async def test_twenty_guesses_at_once_are_no_more_than_five(auth, monkeypatch):
    await owner(auth)
    passwords, real = auth.app.state.services.passwords, []
    verify = passwords.verify

    async def noticed(password, kept):
        real.append(kept is not None)
        return await verify(password, kept)

    monkeypatch.setattr(passwords, "verify", noticed)
    answers = await asyncio.gather(*(sign_in(auth, WRONG, at=f"198.51.100.{n}") for n in range(20)))
    assert {answer.status_code for answer in answers} == {401}
    assert sum(real) == 5


async def test_a_stranger_keeps_out_strangers_and_not_the_owner_at_a_known_address(auth):
    await owner(auth)
    await fail(auth, 20)
    assert (await sign_in(auth, at=STRANGER)).status_code == 401
    assert (await sign_in(auth, at=OWNER)).status_code == 200


async def test_a_stranger_keeps_out_nobody_who_has_a_device_of_the_account(auth):
    device = (await owner(auth))["device"]
    await fail(auth, 20)
    elsewhere = "192.0.2.44"
    assert (await sign_in(auth, at=elsewhere)).status_code == 401
    assert (await sign_in(auth, at=elsewhere, device=device)).status_code == 200


async def test_a_device_of_one_account_is_a_stranger_to_another(auth):
    await owner(auth)
    await auth.register("bob@example.com")
    await auth.confirm()
    bobs = (await sign_in(auth, email="bob@example.com", at="192.0.2.44")).json()["device"]
    await fail(auth, 5)
    for device in (bobs, bobs[:-2] + "AA", "acme_dv_", "x" * 200):
        assert (await sign_in(auth, device=device)).status_code == 401


async def test_a_known_device_may_fail_as_often_and_no_oftener(auth):
    device = (await owner(auth))["device"]
    elsewhere = {"at": "192.0.2.44", "device": device}
    await fail(auth, 5, **elsewhere)
    assert (await sign_in(auth, **elsewhere)).status_code == 401
    # Whoever has the device locks it alone.
    assert (await sign_in(auth, at=OWNER)).status_code == 200


async def test_no_password_outlives_a_hundred_failures_in_a_row(auth, redis_url):
    device = (await owner(auth))["device"]
    # As many as an attacker with patience has got to.
    await auth.database.execute("update users set failed_sign_ins = 48")
    for _ in range(5):
        await fail(auth, 5, at=STRANGER)
        await pass_time(redis_url, "strangers", 3601)
        await forgive_addresses(redis_url)
    strangers = await auth.database.fetchval("select failed_sign_ins from users")
    assert lockout.MAX_FAILURES_UNKNOWN_DEVICE <= strangers <= lockout.MAX_FAILURES_UNKNOWN_DEVICE + 5
    assert (await sign_in(auth)).status_code == 401
    # The owner still gets in, and sets all to rights by it.
    assert (await sign_in(auth, at="192.0.2.44", device=device)).status_code == 200
    assert (await sign_in(auth)).status_code == 200


async def test_known_devices_do_not_get_past_a_hundred_either(auth):
    device = (await owner(auth))["device"]
    await auth.database.execute("update users set failed_sign_ins = $1", lockout.MAX_FAILURES)
    assert (await sign_in(auth, at=OWNER, device=device)).status_code == 401
    most = 10
    assert lockout.MAX_FAILURES_UNKNOWN_DEVICE - 1 + most < lockout.MAX_FAILURES
    assert lockout.MAX_FAILURES - 1 + most * lockout.DEVICES_FACTOR < 100


async def test_a_reset_opens_a_locked_account(auth):
    device = (await owner(auth))["device"]
    await fail(auth, 5)
    await fail(auth, 5, at="192.0.2.44", device=device)
    await auth.database.execute("update users set failed_sign_ins = $1", lockout.MAX_FAILURES)
    parts = auth.app.state.services
    async with parts.database.begin() as db:
        user = await users.find(db, "ann@example.com")
        await password_check.unlock(db, parts, user)
    assert (await sign_in(auth)).status_code == 200
    assert (await sign_in(auth, at="192.0.2.44", device=device)).status_code == 200


async def test_tells_the_owner_once(auth, redis_url):
    bundle = await owner(auth)
    await fail(auth, 7)
    await pass_time(redis_url, "strangers", 3601)
    await fail(auth, 7)
    [mail] = await auth.mails("sign_in_blocked")
    assert (mail["recipient"], mail["email"], mail["token"]) == (bundle["user_id"], "ann@example.com", None)
    assert len(await auth.audited("authn_login_lock")) == 2


async def test_treats_an_address_without_an_account_alike_and_writes_to_nobody(auth):
    await fail(auth, 8, email="nobody@example.com")
    assert await auth.mails("sign_in_blocked") == []
    assert await auth.audited("authn_login_lock") == []
    reasons = {json.loads(event["detail"])["reason"] for event in await auth.audited("authn_login_fail")}
    assert reasons == {"unknown_account"}


async def test_blocks_an_address_that_fails_with_many_accounts(start, redis_url):
    auth = await start(auth_ip_lockout_threshold=4)
    await owner(auth)
    for n in range(4):
        await fail(auth, 1, email=f"person{n}@example.com", at="2001:db8:1:2::3")
    refused = await sign_in(auth, at="2001:db8:1:2:ffff::4")
    assert (refused.status_code, refused.json()["code"]) == (429, "rate_limited")
    assert 0 < int(refused.headers["retry-after"]) <= 600
    assert (await sign_in(auth, at="2001:db8:1:3::3")).status_code == 200
    assert len(await auth.audited("excess_rate_limit_exceeded")) == 1
    await forgive_addresses(redis_url)
    assert (await sign_in(auth, at="2001:db8:1:2::3")).status_code == 200


async def test_one_success_does_not_clear_an_address(start):
    auth = await start(auth_ip_lockout_threshold=4)
    await owner(auth)
    for n in range(3):
        await fail(auth, 1, email=f"person{n}@example.com")
    assert (await sign_in(auth)).status_code == 200
    await fail(auth, 1, email="person4@example.com")
    assert (await sign_in(auth)).status_code == 429


async def test_does_not_count_what_could_not_be_judged(auth, monkeypatch):
    await owner(auth)

    async def busy(*_):
        raise TooManySignIns

    with monkeypatch.context() as patch:
        patch.setattr(auth.app.state.services.passwords, "verify", busy)
        for _ in range(6):
            assert (await sign_in(auth)).status_code == 503
    assert (await sign_in(auth)).status_code == 200


async def test_does_not_take_the_right_password_for_a_guess(auth):
    await auth.register()
    for _ in range(6):
        assert (await sign_in(auth)).status_code == 401
    await auth.confirm()
    assert (await sign_in(auth)).status_code == 200


async def test_lets_nobody_in_when_redis_is_gone(start, tmp_path):
    with Valkey(tmp_path, durable=False) as server:
        auth = await start(redis_url=server.url)
        await owner(auth)
    for _ in range(3):
        answer = await sign_in(auth, at=OWNER)
        assert (answer.status_code, answer.json()["code"]) == (503, "limits_unavailable")
        assert "retry-after" in answer.headers


async def test_writes_nobody_into_redis(auth, redis_url):
    await owner(auth)
    await fail(auth, 5)
    async with Redis.from_url(redis_url, decode_responses=True) as redis:
        names = [name async for name in redis.scan_iter("auth:failures:*")]
    assert names
    assert not [name for name in names if "ann" in name or OWNER in name or STRANGER in name]


@pytest.mark.parametrize("name", ["auth_lockout_threshold", "auth_ip_lockout_threshold"])
async def test_follows_the_settings(start, name):
    auth = await start(**{name: 2})
    await owner(auth)
    await fail(auth, 2)
    assert (await sign_in(auth)).status_code in {401, 429}
