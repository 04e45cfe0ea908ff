import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from auth.security.refresh_tokens import RefreshTokens
from auth.settings import Settings
from prometheus_client import REGISTRY

from .factor_helpers import answered, challenged, enrol

# As it is in production, before `_long_grace` makes minutes of the seconds.
from_settings = RefreshTokens.from_settings


async def grow_older(auth, minutes):
    """Age what was used; the grace is ten minutes here, see `_long_grace`."""
    await auth.database.execute(
        "update refresh_tokens set consumed_at = consumed_at - make_interval(mins => $1)", minutes
    )


async def test_gives_a_new_pair_in_the_same_session(auth):
    before = await auth.somebody()
    answer = await auth.refresh(before)
    after = answer.json()
    assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-store")
    assert after["session_id"] == before["session_id"]
    assert after["refresh_token"] != before["refresh_token"]
    assert auth.claims(after)["jti"] != auth.claims(before)["jti"]
    assert auth.claims(after)["auth_time"] == auth.claims(before)["auth_time"]
    assert (await auth.me(after["access_token"])).status_code == 200


async def test_gives_twenty_at_once_the_same_one_successor(auth, start):
    bundle = await auth.somebody()
    replica = await start()
    answers = await asyncio.gather(*(one.refresh(bundle) for one in [auth, replica] * 10))
    assert {answer.status_code for answer in answers} == {200}
    [successor] = {answer.json()["refresh_token"] for answer in answers}
    assert await auth.database.fetchval("select count(*) from refresh_tokens") == 2
    assert (await auth.post("refresh", refresh_token=successor)).status_code == 200


async def test_gives_the_successor_again_when_the_answer_was_lost(auth):
    bundle = await auth.somebody()
    first = (await auth.refresh(bundle)).json()
    await grow_older(auth, 8)
    second = (await auth.refresh(bundle)).json()
    assert first["refresh_token"] == second["refresh_token"]
    assert first["refresh_expires_at"] == second["refresh_expires_at"]


async def test_ends_the_session_for_everybody_when_a_used_token_comes_again(auth):
    bundle = await auth.somebody()
    newest = (await auth.refresh(bundle)).json()
    await grow_older(auth, 11)
    answer = await auth.refresh(bundle)
    assert (answer.status_code, answer.json()["code"]) == (401, "refresh_token_reused")
    assert (await auth.refresh(newest)).json()["code"] == "invalid_refresh_token"
    assert (await auth.me(newest["access_token"])).status_code == 401
    assert await auth.database.fetchval("select end_reason from sessions") == "token_reused"


async def test_ends_the_session_at_once_when_a_grandparent_comes_again(auth):
    bundle = await auth.somebody()
    child = (await auth.refresh(bundle)).json()
    grandchild = (await auth.refresh(child)).json()
    assert (await auth.refresh(bundle)).json()["code"] == "refresh_token_reused"
    assert (await auth.refresh(grandchild)).status_code == 401


async def test_ends_one_session_and_not_the_others(auth):
    stolen, other = await auth.somebody(), await auth.session()
    await auth.refresh(stolen)
    await grow_older(auth, 11)
    assert (await auth.refresh(stolen)).status_code == 401
    assert (await auth.refresh(other)).status_code == 200


def test_grants_ten_seconds_of_grace(variables):
    assert from_settings(Settings(**variables)).grace == timedelta(seconds=10)


async def test_grants_no_grace_where_none_is_set(start):
    auth = await start(auth_refresh_grace_seconds=0)
    bundle = await auth.somebody()
    await auth.refresh(bundle)
    assert (await auth.refresh(bundle)).json()["code"] == "refresh_token_reused"


async def used(auth, bundle, agent="Firefox", at="203.0.113.7", **more):
    body = {"refresh_token": bundle["refresh_token"], **more}
    headers = {"User-Agent": agent, "X-Forwarded-For": at}
    return await auth.public.post("/api/v1/auth/refresh", json=body, headers=headers)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({}, {"agent": "Safari"}),
        ({}, {"agent": ""}),
        ({"device": "acme_dv_1"}, {}),
        ({"device": "acme_dv_1"}, {"device": "acme_dv_2"}),
    ],
)
async def test_grants_grace_to_the_same_client_alone(auth, first, second):
    bundle = await auth.somebody()
    newest = (await used(auth, bundle, **first)).json()
    again = await used(auth, bundle, **first)
    assert again.json()["refresh_token"] == newest["refresh_token"]
    answer = await used(auth, bundle, **second)
    assert (answer.status_code, answer.json()["code"]) == (401, "refresh_token_reused")
    assert (await auth.refresh(newest)).status_code == 401
    assert len(await auth.mails("session_stolen")) == 1


async def test_grants_grace_also_where_the_network_has_changed(auth):
    bundle = await auth.somebody()
    answers = [await used(auth, bundle, at=address) for address in ("203.0.113.7", "198.51.100.9")]
    assert len({answer.json()["refresh_token"] for answer in answers}) == 1


async def test_grants_grace_so_often_and_counts_it(start):
    auth = await start(auth_rate_limits={"subject:refresh": 3})
    bundle = await auth.somebody()
    before = repeated()
    assert [(await auth.refresh(bundle)).status_code for _ in range(4)] == [200, 200, 200, 429]
    assert repeated() == before + 2


def repeated():
    return REGISTRY.get_sample_value("auth_refreshes_total", {"result": "repeated"}) or 0


@pytest.mark.parametrize(
    "wider",
    [
        {"scope": "tenant:manage billing:manage"},
        {"audience": "conversation"},
        {"resource": "conversation"},
        {"tenant_id": "another"},
        {"role": "owner"},
        {"client_id": "another"},
        {"amr": ["pwd", "otp", "mfa"]},
    ],
)
async def test_widens_nothing_that_a_session_is_for(auth, wider):
    owner = await auth.somebody()
    ann = await auth.joined(owner, "bob@example.com", "viewer")
    if "tenant_id" in wider:
        wider = {"tenant_id": (await auth.somebody("eve@example.com"))["tenant_id"]}
    before = auth.claims(ann)
    refused = await auth.post("refresh", refresh_token=ann["refresh_token"], **wider)
    assert (refused.status_code, refused.json()["code"]) == (422, "invalid_request")
    where = {"X-Tenant-Role": "owner", "X-Tenant-Id": str(wider.get("tenant_id", before["tenant_id"]))}
    body = {"refresh_token": ann["refresh_token"]}
    answer = await auth.public.post("/api/v1/auth/refresh", params=wider, headers=where, json=body)
    after = auth.claims(answer.json())
    for claim in ("scope", "aud", "tenant_id", "role", "sub", "client_id", "sid", "amr", "auth_time", "iss"):
        assert after[claim] == before[claim], claim


async def test_reads_role_and_address_anew(auth):
    bundle = await auth.somebody()
    await auth.role("ann@example.com", "viewer")
    renewed = (await auth.refresh(bundle)).json()
    assert auth.claims(renewed)["role"] == "viewer"
    assert "conversations:write" not in renewed["scopes"]


@pytest.mark.parametrize(
    "change",
    [
        "update users set status = 'disabled'",
        "update users set email_verified_at = null",
        "delete from memberships",
        "delete from tenants",
        "delete from users",
        "update sessions set expires_at = now() - interval '1 second'",
        "update refresh_tokens set expires_at = now() - interval '1 second'",
    ],
)
async def test_refuses_who_may_no_longer_come_in(auth, change):
    bundle = await auth.somebody()
    await auth.database.execute(change)
    for _ in range(2):
        answer = await auth.refresh(bundle)
        assert (answer.status_code, answer.json()["code"]) == (401, "invalid_refresh_token")
        assert answer.headers["www-authenticate"] == "Bearer"


async def test_does_not_let_a_disabled_person_back_into_the_session(auth):
    bundle = await auth.somebody()
    await auth.database.execute("update users set status = 'disabled'")
    await auth.refresh(bundle)
    await auth.database.execute("update users set status = 'active'")
    assert (await auth.refresh(bundle)).status_code == 401
    assert (await auth.sign_in()).status_code == 200


async def test_lets_a_session_rest_for_so_long_and_last_for_so_long(start):
    auth = await start(auth_refresh_token_ttl_minutes=60, auth_session_ttl_minutes=90)
    bundle = await auth.somebody()
    rests_until = datetime.fromisoformat(bundle["refresh_expires_at"])
    assert abs(rests_until - datetime.now(UTC) - timedelta(minutes=60)) < timedelta(minutes=5)
    await auth.database.execute("update sessions set expires_at = expires_at - interval '80 minutes'")
    last = (await auth.refresh(bundle)).json()
    ends_at = await auth.database.fetchval("select expires_at from sessions")
    assert datetime.fromisoformat(last["refresh_expires_at"]) == ends_at


async def test_lets_a_session_of_two_factors_rest_and_last_less_where_so_set(start):
    auth = await start(auth_mfa_session_ttl_minutes=24 * 60, auth_mfa_session_idle_minutes=60)
    one_factor = await auth.somebody()
    app = await enrol(auth, one_factor)
    two = (await answered(auth, (await challenged(auth))["challenge"], code=app.code)).json()
    lasting = "select extract(epoch from expires_at - created_at) / 3600 from sessions where id = $1"
    assert round(await auth.database.fetchval(lasting, two["session_id"])) == 24
    assert round(await auth.database.fetchval(lasting, one_factor["session_id"])) == 30 * 24
    for bundle, hours in ((two, 1), (one_factor, 7 * 24)):
        rests = datetime.fromisoformat(bundle["refresh_expires_at"]) - datetime.now(UTC)
        assert abs(rests - timedelta(hours=hours)) < timedelta(minutes=5)
    # Also what follows from a session of one factor, when a second one is shown.
    await app.later()
    stepped = await auth.post("step-up", one_factor["access_token"], code=app.code)
    assert round(await auth.database.fetchval(lasting, stepped.json()["session_id"])) == 24
    # Unused for so long, it is over; and is not shown any more.
    rested = "update {} set {} = now() - interval '61 minutes'"
    await auth.database.execute(rested.format("sessions", "last_seen_at"))
    await auth.database.execute(rested.format("refresh_tokens", "expires_at"))
    assert (await auth.refresh(two)).json()["code"] == "invalid_refresh_token"
    listed = await auth.ask("GET", "sessions", two)
    assert listed.json()["items"] == []


async def test_lets_a_session_of_two_factors_last_as_long_as_others_by_default(auth):
    app = await enrol(auth, await auth.somebody())
    two = (await answered(auth, (await challenged(auth))["challenge"], code=app.code)).json()
    lasts = "select extract(epoch from expires_at - created_at) / 3600 from sessions where id = $1"
    assert round(await auth.database.fetchval(lasts, two["session_id"])) == 30 * 24


async def test_gives_no_token_that_outlives_its_session(auth):
    bundle = await auth.somebody()
    await auth.database.execute("update sessions set expires_at = now() + interval '2 minutes'")
    renewed = (await auth.refresh(bundle)).json()
    ends_at = await auth.database.fetchval("select expires_at from sessions")
    assert auth.claims(renewed)["exp"] == int(ends_at.timestamp())
    assert datetime.fromisoformat(renewed["expires_at"]) <= ends_at
    await auth.database.execute("update sessions set expires_at = now()")
    assert (await auth.me(renewed["access_token"])).status_code == 401


@pytest.mark.parametrize("token", ["x", "acme_rt_", "acme_rt_" + "A" * 43, "🥐", "' or 1=1 --", "\x00"])
async def test_refuses_what_it_never_gave_out(auth, token):
    await auth.somebody()
    assert (await auth.post("refresh", refresh_token=token)).json()["code"] == "invalid_refresh_token"


async def test_keeps_nothing_in_the_database_that_opens_a_session(auth):
    bundle = await auth.somebody()
    later = (await auth.refresh(bundle)).json()
    rows = [
        *await auth.database.fetch("select * from sessions"),
        *await auth.database.fetch("select * from refresh_tokens"),
    ]
    stored = "".join(str(dict(row)) for row in rows)
    for token in (bundle["refresh_token"], later["refresh_token"]):
        assert token.removeprefix("acme_rt_") not in stored
    digests = [row["digest"] for row in rows if "digest" in row]
    for thing in [*digests, rows[0]["key"]]:
        assert (await auth.post("refresh", refresh_token=f"acme_rt_{thing.hex()}")).status_code == 401
