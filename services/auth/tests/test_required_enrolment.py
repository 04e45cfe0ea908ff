import asyncio

import pyotp
import pytest

from .authenticator import Authenticator
from .factor_helpers import answered, challenged, enrol


@pytest.fixture
async def strict(auth):
    """A tenant that lets nobody in by one factor alone; its owner has a session from before."""
    bundle = await auth.somebody()
    await auth.database.execute("update tenants set mfa_required = true")
    return bundle


async def request_enrolment(auth):
    answer = await auth.sign_in()
    assert (answer.status_code, answer.json()["code"]) == (401, "second_factor_enrolment_required")
    assert answer.headers["cache-control"] == "no-store"
    return answer.json()["challenge"]


async def test_gives_no_token_before_a_factor_is_set_up(auth, strict):
    challenge = await request_enrolment(auth)
    begun = await auth.post("token/enrol/totp", challenge=challenge)
    assert (begun.status_code, begun.headers["cache-control"]) == (201, "no-store")
    wrong = await auth.post("token/enrol/totp/confirm", challenge=challenge, code="000000")
    assert (wrong.status_code, wrong.json()["code"]) == (400, "invalid_totp_code")
    code = pyotp.TOTP(begun.json()["seed"]).now()
    done = await auth.post("token/enrol/totp/confirm", challenge=challenge, code=code)
    bundle = done.json()
    assert (done.status_code, auth.claims(bundle)["amr"]) == (200, ["pwd", "otp", "mfa"])
    assert len(bundle["recovery_codes"]) == 10
    assert bundle["tenant_id"] == strict["tenant_id"]
    assert [mail["facts"] for mail in await auth.mails("second_factor_added")] == [{"factor": "totp"}]
    assert (await auth.refresh(bundle)).status_code == 200
    again = await auth.post("token/enrol/totp/confirm", challenge=challenge, code=code)
    assert again.json()["code"] == "invalid_challenge"
    await challenged(auth)


async def test_refreshes_no_session_that_was_begun_with_one_factor(auth, strict):
    answer = await auth.refresh(strict)
    assert (answer.status_code, answer.json()["code"]) == (401, "second_factor_missing")
    assert answer.headers["www-authenticate"] == "Bearer"


async def test_steps_up_to_no_session_with_a_password_alone(auth, strict):
    answer = await auth.post("step-up", strict["access_token"], password=auth.password)
    assert (answer.status_code, answer.json()["code"]) == (401, "second_factor_missing")


async def test_lets_in_who_has_a_factor(auth, strict):
    app = await enrol(auth, strict)
    bundle = (await answered(auth, (await challenged(auth))["challenge"], code=app.code)).json()
    assert (await auth.refresh(bundle)).status_code == 200


async def test_asks_nothing_of_who_goes_to_another_tenant(auth, strict):
    await auth.somebody("bob@example.com")
    assert (await auth.sign_in("bob@example.com")).status_code == 200


async def test_says_so_only_after_the_right_password(auth, strict):
    assert (await auth.sign_in(password="some other words again")).json()["code"] == "invalid_credentials"


async def test_gives_a_challenge_that_only_enrolment_takes(auth, strict):
    challenge = await request_enrolment(auth)
    for path, body in (
        ("token/second-factor", {"challenge": challenge, "code": "000000"}),
        ("refresh", {"refresh_token": challenge}),
        ("email/verify", {"token": challenge}),
    ):
        assert (await auth.post(path, **body)).status_code in {400, 401}
    assert (await auth.post("factors/totp", challenge)).status_code == 401
    assert (await auth.post("token/enrol/totp", challenge=challenge)).status_code == 201


async def test_takes_no_other_challenge_for_an_enrolment(auth):
    await enrol(auth, await auth.somebody())
    challenge = (await challenged(auth))["challenge"]
    for path, body in (("token/enrol/totp", {}), ("token/enrol/totp/confirm", {"code": "000000"})):
        answer = await auth.post(path, challenge=challenge, **body)
        assert (answer.status_code, answer.json()["code"]) == (401, "invalid_challenge")


async def test_is_over_when_a_factor_was_set_up_meanwhile(auth, strict):
    challenge = await request_enrolment(auth)
    await enrol(auth, strict)
    answer = await auth.post("token/enrol/totp", challenge=challenge)
    assert (answer.status_code, answer.json()["code"]) == (401, "invalid_challenge")


async def test_is_over_after_five_minutes_and_elsewhere(auth, strict):
    challenge = await request_enrolment(auth)
    path, body = "/api/v1/auth/token/enrol/totp", {"challenge": challenge}
    answer = await auth.public.post(path, json=body, headers={"X-Forwarded-For": "203.0.113.9"})
    assert answer.json()["code"] == "invalid_challenge"
    await auth.database.execute("update challenges set expires_at = now() - interval '1 second'")
    assert (await auth.public.post(path, json=body)).json()["code"] == "invalid_challenge"


async def test_starts_one_session_of_twenty_requested_at_once(auth, strict):
    challenge = await request_enrolment(auth)
    begun = await auth.post("token/enrol/totp", challenge=challenge)
    code = pyotp.TOTP(begun.json()["seed"]).now()
    answers = await asyncio.gather(
        *(auth.post("token/enrol/totp/confirm", challenge=challenge, code=code) for _ in range(20))
    )
    assert sorted(answer.status_code for answer in answers) == [200] + [401] * 19


async def test_takes_a_passkey_as_the_first_factor(auth, strict):
    challenge, key = await request_enrolment(auth), Authenticator()
    begun = await auth.post("token/enrol/passkey/options", challenge=challenge)
    assert (begun.status_code, begun.json()["challenge"]) == (200, challenge)
    for lies in ({"origin": "https://evil.example"}, {"rp_id": "evil.example"}):
        made = key.register(begun.json()["options"], **lies)
        answer = await auth.post("token/enrol/passkey", challenge=challenge, passkey=made)
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_passkey")
    made = key.register(begun.json()["options"])
    done = await auth.post("token/enrol/passkey", challenge=challenge, passkey=made)
    bundle = done.json()
    assert (done.status_code, auth.claims(bundle)["amr"]) == (200, ["pwd", "hwk", "user", "mfa"])
    assert len(bundle["recovery_codes"]) == 10
    assert (await auth.refresh(bundle)).status_code == 200
    again = await auth.post("token/enrol/passkey", challenge=challenge, passkey=made)
    assert again.json()["code"] == "invalid_challenge"
    problem = await challenged(auth)
    proof = key.sign(problem["passkey"])
    assert (await answered(auth, problem["challenge"], passkey=proof)).status_code == 200


async def test_lets_nobody_switch_to_it_with_one_factor(auth):
    bundle = await auth.somebody()
    headers = {"Authorization": f"Bearer {bundle['access_token']}"}
    made = await auth.public.post("/api/v1/auth/tenants", json={"name": "Strict"}, headers=headers)
    await auth.database.execute("update tenants set mfa_required = true where name = 'Strict'")
    answer = await auth.post(f"tenants/{made.json()['id']}/switch", bundle["access_token"])
    assert (answer.status_code, answer.json()["code"]) == (401, "second_factor_missing")
    # Nothing was ended for it.
    assert (await auth.refresh(bundle)).status_code == 200
