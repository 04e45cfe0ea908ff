import asyncio

import pytest

from .authenticator import Authenticator
from .conftest import SESSION_OVER, SESSION_OVER_CODES
from .factor_helpers import answered, challenged, delete, enrol, register

SENSITIVE = [
    ("POST", "factors/totp"),
    ("POST", "factors/totp/confirm"),
    ("DELETE", "factors/totp"),
    ("POST", "factors/recovery-codes"),
    ("POST", "factors/passkeys/options"),
    ("POST", "factors/passkeys"),
    ("DELETE", "factors/passkeys/00000000-0000-4000-8000-000000000000"),
]
SOMEBODY = "00000000-0000-4000-8000-000000000000"
ENDING_SESSIONS = [
    ("POST", "logout/all"),
    ("POST", "logout/others"),
    ("DELETE", f"sessions/{SOMEBODY}"),
    ("DELETE", f"tenants/current/members/{SOMEBODY}/sessions"),
]


async def call(auth, method, path, bundle, **body):
    headers = {"Authorization": f"Bearer {bundle['access_token']}"}
    return await auth.public.request(
        method, f"/api/v1/auth/{path}", headers=headers, json=body if method == "POST" else None
    )


async def grow_old(auth, minutes=16):
    await auth.database.execute(
        "update sessions set authenticated_at = now() - make_interval(mins => $1)", minutes
    )


async def with_factor(auth):
    """Somebody with an app, and a session that was begun with it."""
    app = await enrol(auth, await auth.somebody())
    bundle = (await answered(auth, (await challenged(auth))["challenge"], code=app.code)).json()
    await app.later()
    return app, bundle


@pytest.mark.parametrize(("method", "path"), SENSITIVE)
async def test_asks_for_a_new_proof_when_the_last_is_old(auth, method, path):
    bundle = await auth.somebody()
    assert (await call(auth, method, path, bundle)).status_code != 401
    await grow_old(auth)
    # Also a token that is new: refreshing is no proof.
    for held in (bundle, (await auth.refresh(bundle)).json()):
        answer = await call(auth, method, path, held)
        assert (answer.status_code, answer.json()["code"]) == (401, "insufficient_user_authentication")
        assert answer.headers["www-authenticate"] == (
            'Bearer error="insufficient_user_authentication", max_age=900'
        )
        assert answer.json()["max_age"] == 900


@pytest.mark.parametrize(("method", "path"), ENDING_SESSIONS)
async def test_asks_for_a_new_proof_before_sessions_end_when_the_last_is_old(auth, method, path):
    bundle, other = await auth.somebody(), await auth.session()
    await grow_old(auth)
    answer = await call(auth, method, path, bundle)
    assert (answer.status_code, answer.json()["code"]) == (401, "insufficient_user_authentication")
    assert (await auth.refresh(other)).status_code == 200
    proved = await auth.post("step-up", bundle["access_token"], password=auth.password)
    assert (await call(auth, method, path, proved.json())).status_code in {204, 404}


async def test_never_asks_for_a_proof_to_end_the_current_session(auth):
    by_token, by_id = await auth.somebody(), await auth.session()
    await grow_old(auth)
    assert (await auth.post("logout", refresh_token=by_token["refresh_token"])).status_code == 204
    assert (await call(auth, "DELETE", f"sessions/{by_id['session_id']}", by_id)).status_code == 204
    assert (await auth.refresh(by_id)).status_code == 401


@pytest.mark.parametrize(("method", "path"), [*SENSITIVE, *ENDING_SESSIONS])
async def test_asks_for_the_second_factor_where_there_is_one(auth, method, path):
    bundle = await auth.somebody()
    app = await enrol(auth, bundle)
    answer = await call(auth, method, path, bundle)
    assert (answer.status_code, answer.json()["code"]) == (401, "insufficient_user_authentication")
    stronger = (await auth.post("step-up", bundle["access_token"], code=app.code)).json()
    assert (await call(auth, method, path, stronger)).status_code != 401


@pytest.mark.parametrize(("method", "path"), [*SENSITIVE, *ENDING_SESSIONS])
async def test_lets_no_machine_and_no_ended_session_in(auth, method, path):
    bundle = await auth.somebody()
    machine = await auth.app.state.services.access_tokens.for_service("chat-agent", "auth", ["tools:read"])
    assert (await call(auth, method, path, {"access_token": machine.token})).status_code == 403
    assert (await auth.post("logout", refresh_token=bundle["refresh_token"])).status_code == 204
    answer = await call(auth, method, path, bundle)
    assert (answer.status_code, answer.json()["code"]) in SESSION_OVER


async def test_takes_how_long_a_proof_lasts_from_the_settings(auth, start):
    bundle = await auth.somebody()
    patient = await start(auth_step_up_minutes=30)
    await grow_old(auth)
    assert (await patient.post("factors/totp", bundle["access_token"])).status_code == 201
    await grow_old(auth, 31)
    answer = await patient.post("factors/totp", bundle["access_token"])
    assert answer.json()["max_age"] == 1800


async def test_gives_a_new_session_and_ends_the_one_before(auth):
    before = await auth.somebody()
    await grow_old(auth)
    answer = await auth.post("step-up", before["access_token"], password=auth.password)
    bundle = answer.json()
    assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-store")
    assert bundle["session_id"] != before["session_id"]
    assert auth.claims(bundle)["auth_time"] > auth.claims(before)["auth_time"] - 1
    assert auth.claims(bundle)["amr"] == ["pwd"]
    assert bundle["device"] == before["device"]
    assert (await auth.refresh(before)).status_code == 401
    assert (await auth.post("factors/totp", before["access_token"])).json()["code"] in SESSION_OVER_CODES
    assert (await auth.post("factors/totp", bundle["access_token"])).status_code == 201
    [row] = await auth.audited("authn_step_up")
    assert (row["actor"], str(row["session_id"])) == (bundle["user_id"], bundle["session_id"])


async def test_does_not_make_a_session_last_longer(auth):
    before = await auth.somebody()
    old = await auth.database.fetchval(
        "update sessions set expires_at = expires_at - interval '29 days' returning expires_at"
    )
    bundle = (await auth.post("step-up", before["access_token"], password=auth.password)).json()
    new = await auth.database.fetchval("select expires_at from sessions where id = $1", bundle["session_id"])
    assert new == old


async def test_takes_a_code_or_a_recovery_code_but_no_password_where_there_is_a_factor(auth):
    app, bundle = await with_factor(auth)
    await grow_old(auth)
    answer = await auth.post("step-up", bundle["access_token"], password=auth.password)
    assert (answer.status_code, answer.json()["code"]) == (401, "password_not_sufficient")
    first = await auth.post("step-up", bundle["access_token"], code=app.code)
    assert auth.claims(first.json())["amr"] == ["pwd", "otp", "mfa"]
    await grow_old(auth)
    second = await auth.post("step-up", first.json()["access_token"], recovery_code=app.codes[0])
    assert second.status_code == 200
    assert (await delete(auth, "factors/totp", second.json())).status_code == 204


async def test_takes_a_passkey_that_has_signed_for_this_session(auth):
    key, bundle = Authenticator(), await auth.somebody()
    await register(auth, bundle, key)
    other = await challenged(auth)
    other = (await answered(auth, other["challenge"], passkey=key.sign(other["passkey"]))).json()
    begun = (await auth.post("step-up/options", bundle["access_token"])).json()
    proof = {"challenge": begun["challenge"], "passkey": key.sign(begun["options"])}
    elsewhere = await auth.post("step-up", other["access_token"], **proof)
    assert elsewhere.json()["code"] == "invalid_challenge"
    alone = await auth.post("step-up", bundle["access_token"], passkey=proof["passkey"])
    assert alone.json()["code"] == "invalid_challenge"
    done = await auth.post("step-up", bundle["access_token"], **proof)
    assert (done.status_code, auth.claims(done.json())["amr"]) == (200, ["pwd", "hwk", "user", "mfa"])
    again = await auth.post("step-up", done.json()["access_token"], **proof)
    assert again.json()["code"] == "invalid_challenge"


async def test_refuses_a_wrong_proof_and_counts_it(auth):
    bundle = await auth.somebody()
    for _ in range(5):
        answer = await auth.post("step-up", bundle["access_token"], password="some other words again")
        assert (answer.status_code, answer.json()["code"]) == (401, "invalid_factor")
    answer = await auth.post("step-up", bundle["access_token"], password=auth.password)
    assert (answer.status_code, answer.json()["code"]) == (429, "factors_blocked")
    assert (await auth.refresh(bundle)).status_code == 200


async def test_counts_together_with_the_second_factor_of_a_sign_in(auth):
    app, bundle = await with_factor(auth)
    challenge = (await challenged(auth))["challenge"]
    for _ in range(3):
        await answered(auth, challenge, code="000000")
    for _ in range(2):
        await auth.post("step-up", bundle["access_token"], code="000000")
    assert (await auth.post("step-up", bundle["access_token"], code=app.code)).status_code == 429
    assert (await answered(auth, challenge, code=app.code)).status_code == 429


async def test_starts_one_new_session_of_many_requested_at_once(auth, start):
    app, bundle = await with_factor(auth)
    patient = await start(auth_second_factor_max_failures=10)
    answers = await asyncio.gather(
        *(patient.post("step-up", bundle["access_token"], recovery_code=code) for code in app.codes)
    )
    assert [answer.status_code for answer in answers].count(200) == 1
    live = await auth.database.fetchval("select count(*) from sessions where ended_at is null")
    # The one that the app was set up in, and the new one.
    assert live == 2


@pytest.mark.parametrize("proof", [{}, {"password": "x", "code": "123456"}, {"challenge": "x"}])
async def test_takes_exactly_one_proof(auth, proof):
    bundle = await auth.somebody()
    assert (await auth.post("step-up", bundle["access_token"], **proof)).status_code == 422


async def test_keeps_the_time_of_the_proof_when_refreshed(auth):
    bundle = await auth.somebody()
    await grow_old(auth)
    then = await auth.database.fetchval("select authenticated_at from sessions")
    renewed = (await auth.refresh(bundle)).json()
    assert auth.claims(renewed)["auth_time"] == int(then.timestamp())
