import asyncio

import pytest
from auth.worker import ExpiryWorker

from .factor_helpers import answered, challenged, delete, enrol

NOWHERE = "127.0.0.1:1"


async def blocked(auth):
    return await auth.database.fetchrow("select failures, blocked_until from factor_attempts")


async def test_asks_for_the_second_factor_only_after_the_right_password(auth):
    await enrol(auth, await auth.somebody())
    await auth.somebody("bob@example.com")
    wrong = "some other words again"
    with_factor = (await auth.sign_in(password=wrong)).json()
    without = (await auth.sign_in("bob@example.com", wrong)).json()
    assert {**with_factor, "request_id": ""} == {**without, "request_id": ""}
    assert with_factor["code"] == "invalid_credentials"
    answer = await auth.sign_in()
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (401, "second_factor_required")
    assert answer.headers["www-authenticate"] == "Bearer"
    assert answer.headers["cache-control"] == "no-store"
    assert problem["factors"] == ["totp", "recovery_code"]
    # 256 bits.
    assert len(problem["challenge"]) == 43
    assert "access_token" not in answer.text


async def test_gives_no_session_before_the_second_factor(auth):
    bundle = await auth.somebody()
    await enrol(auth, bundle)
    await challenged(auth)
    sessions = await auth.database.fetch("select id from sessions")
    assert [str(row["id"]) for row in sessions] == [bundle["session_id"]]


async def test_gives_a_session_that_says_how_and_keeps_saying_so(auth):
    before = await auth.somebody()
    app = await enrol(auth, before)
    answer = await answered(auth, (await challenged(auth))["challenge"], code=app.code)
    bundle = answer.json()
    assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-store")
    assert set(bundle) == set(before)
    assert bundle["session_id"] != before["session_id"]
    claims = auth.claims(bundle)
    assert claims["amr"] == ["pwd", "otp", "mfa"]
    renewed = auth.claims((await auth.refresh(bundle)).json())
    assert (renewed["amr"], renewed["auth_time"]) == (claims["amr"], claims["auth_time"])
    # One that was weaker does not become stronger by being refreshed.
    assert auth.claims((await auth.refresh(before)).json())["amr"] == ["pwd"]
    row = (await auth.audited("authn_login_success"))[-1]
    assert (row["actor"], str(row["session_id"])) == (bundle["user_id"], bundle["session_id"])


async def test_signs_in_to_the_tenant_that_the_password_was_for(auth):
    app = await enrol(auth, await auth.somebody())
    other = await auth.somebody("bob@example.com")
    await auth.database.execute(
        "insert into memberships (tenant_id, user_id, role)"
        " select $1, id, 'viewer' from users where email_key like 'ann%'",
        other["tenant_id"],
    )
    challenge = (await challenged(auth, tenant_id=other["tenant_id"]))["challenge"]
    bundle = (await answered(auth, challenge, code=app.code)).json()
    assert (bundle["tenant_id"], auth.claims(bundle)["role"]) == (other["tenant_id"], "viewer")


async def test_takes_an_answer_once(auth):
    app = await enrol(auth, await auth.somebody())
    challenge = (await challenged(auth))["challenge"]
    assert (await answered(auth, challenge, recovery_code=app.codes[0])).status_code == 200
    again = await answered(auth, challenge, recovery_code=app.codes[1])
    assert (again.status_code, again.json()["code"]) == (401, "invalid_challenge")


async def test_begins_one_session_of_ten_right_answers_at_once(auth, start):
    app = await enrol(auth, await auth.somebody())
    patient = await start(auth_second_factor_max_failures=10)
    challenge = (await challenged(patient))["challenge"]
    answers = await asyncio.gather(*(answered(patient, challenge, recovery_code=code) for code in app.codes))
    assert [answer.status_code for answer in answers].count(200) == 1
    # Nine of the codes are still good: they have opened nothing.
    used = await auth.database.fetchval("select count(*) from recovery_codes where used_at is not null")
    assert used == 1


async def test_lets_a_typing_error_be_corrected(auth):
    app = await enrol(auth, await auth.somebody())
    challenge = (await challenged(auth))["challenge"]
    assert (await answered(auth, challenge, code="000000")).status_code == 401
    assert (await answered(auth, challenge, code=app.code)).status_code == 200


async def test_refuses_an_answer_that_took_more_than_five_minutes(auth):
    app = await enrol(auth, await auth.somebody())
    challenge = (await challenged(auth))["challenge"]
    left = await auth.database.fetchval("select expires_at - now() from challenges")
    assert left.total_seconds() <= 300
    await auth.database.execute("update challenges set expires_at = now() - interval '1 second'")
    answer = await answered(auth, challenge, code=app.code)
    assert (answer.status_code, answer.json()["code"]) == (401, "invalid_challenge")


async def test_refuses_an_answer_from_elsewhere(auth):
    app = await enrol(auth, await auth.somebody())
    challenge = (await challenged(auth))["challenge"]
    body = {"challenge": challenge, "code": app.code}
    path = "/api/v1/auth/token/second-factor"
    answer = await auth.public.post(path, json=body, headers={"X-Forwarded-For": "203.0.113.9"})
    assert (answer.status_code, answer.json()["code"]) == (401, "invalid_challenge")
    assert (await auth.public.post(path, json=body)).status_code == 200


async def test_gives_a_challenge_that_is_good_for_nothing_else(auth):
    app = await enrol(auth, await auth.somebody())
    challenge = (await challenged(auth))["challenge"]
    assert (await auth.me(challenge)).json()["code"] == "invalid_token"
    assert (await auth.post("refresh", refresh_token=challenge)).json()["code"] == "invalid_refresh_token"
    assert (await auth.post("email/verify", token=challenge)).json()["code"] == "invalid_email_token"
    assert (await auth.post("factors/totp", challenge)).status_code == 401
    assert (await answered(auth, challenge, code=app.code)).status_code == 200


async def test_believes_no_other_token_to_be_a_challenge(auth):
    bundle = await auth.somebody()
    app = await enrol(auth, bundle)
    challenge = (await auth.post("passkeys/sign-in/options")).json()["challenge"]
    [mail] = await auth.mail_tokens()
    for token in (challenge, mail, bundle["refresh_token"], "x", "🥐"):
        answer = await answered(auth, token, code=app.code)
        assert (answer.status_code, answer.json()["code"]) == (401, "invalid_challenge"), token


async def test_keeps_challenges_as_digests(auth):
    await enrol(auth, await auth.somebody())
    challenge = (await challenged(auth))["challenge"]
    assert challenge not in str(dict(await auth.database.fetchrow("select * from challenges")))


@pytest.mark.parametrize(
    "proof",
    [{}, {"code": None}, {"code": "123456", "recovery_code": "abcd-efgh-ijkl-mnop"}, {"password": "x"}],
)
async def test_takes_exactly_one_proof(auth, proof):
    answer = await answered(auth, "x" * 43, **proof)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")


async def test_counts_failures_over_all_factors_and_challenges(auth):
    app = await enrol(auth, await auth.somebody())
    wrong = [
        {"code": "000000"},
        {"recovery_code": "aaaa-aaaa-aaaa-aaaa"},
        {"code": "000000"},
        {"recovery_code": "bbbb-bbbb-bbbb-bbbb"},
        {"code": "000000"},
    ]
    for proof in wrong:
        # A new challenge each time.
        assert (await answered(auth, (await challenged(auth))["challenge"], **proof)).status_code == 401
    for proof in ({"code": app.code}, {"recovery_code": app.codes[0]}):
        answer = await answered(auth, (await challenged(auth))["challenge"], **proof)
        assert (answer.status_code, answer.json()["code"]) == (429, "factors_blocked")
        assert 0 < int(answer.headers["retry-after"]) <= 15 * 60
    assert len(await auth.audited("authn_second_factor_fail")) == 5
    assert len(await auth.audited("authn_second_factor_lock")) == 1
    [mail] = await auth.mails("sign_in_blocked")
    assert mail["email"] == "ann@example.com"
    await auth.database.execute("update factor_attempts set blocked_until = now() - interval '1 second'")
    challenge = (await challenged(auth))["challenge"]
    assert (await answered(auth, challenge, code=app.code)).status_code == 200
    assert await blocked(auth) is None


async def test_looks_at_no_more_than_five_of_thirty_wrong_answers_at_once(auth):
    await enrol(auth, await auth.somebody())
    challenge = (await challenged(auth))["challenge"]
    answers = await asyncio.gather(*(answered(auth, challenge, code="000000") for _ in range(30)))
    assert sorted(answer.status_code for answer in answers) == [401] * 5 + [429] * 25


async def test_is_disabled_after_a_hundred_failures(auth):
    app = await enrol(auth, await auth.somebody())
    await answered(auth, (await challenged(auth))["challenge"], code="000000")
    await auth.database.execute(
        "update factor_attempts set failures = 99, blocked_until = now() - interval '1 second'"
    )
    assert (await answered(auth, (await challenged(auth))["challenge"], code="000000")).status_code == 401
    await auth.database.execute("update factor_attempts set blocked_until = now() - interval '1 second'")
    assert (await answered(auth, (await challenged(auth))["challenge"], code=app.code)).status_code == 429


async def test_counts_for_each_account_alone(auth):
    await enrol(auth, await auth.somebody())
    bobs = await enrol(auth, await auth.somebody("bob@example.com"))
    challenge = (await challenged(auth))["challenge"]
    for _ in range(6):
        await answered(auth, challenge, code="000000")
    challenge = (await challenged(auth, "bob@example.com"))["challenge"]
    assert (await answered(auth, challenge, code=bobs.code)).status_code == 200


@pytest.mark.parametrize(
    "change",
    [
        "update users set status = 'disabled'",
        "delete from memberships",
        "update users set email_verified_at = null",
    ],
)
async def test_lets_nobody_in_who_may_not_any_more(auth, change):
    app = await enrol(auth, await auth.somebody())
    challenge = (await challenged(auth))["challenge"]
    await auth.database.execute(change)
    answer = await answered(auth, challenge, code=app.code)
    assert (answer.status_code, answer.json()["code"]) == (401, "invalid_challenge")


async def test_limits_an_address_and_a_person(auth, start):
    bundle = await auth.somebody()
    strict = await start(auth_rate_limits={"ip:second-factor": 2, "subject:factors": 2})
    answers = [(await answered(strict, "x", code="000000")).status_code for _ in range(3)]
    assert answers == [401, 401, 429]
    answers = [(await strict.post("factors/totp", bundle["access_token"])).status_code for _ in range(3)]
    assert answers == [201, 201, 429]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("token/second-factor", {"challenge": "x", "code": "000000"}),
        ("passkeys/sign-in/options", {}),
        ("step-up", {"password": "x"}),
        ("factors/totp", {}),
    ],
)
async def test_lets_nobody_guess_while_redis_is_away(auth, start, path, body):
    bundle = await auth.somebody()
    cut_off = await start(redis_url=f"redis://{NOWHERE}/0")
    answer = await cut_off.post(path, bundle["access_token"], **body)
    assert (answer.status_code, answer.json()["code"]) == (503, "limits_unavailable")


async def test_says_nothing_secret_in_its_logs(start, capsys):
    auth = await start(logging_sink="stdout", log_level="DEBUG")
    app = await enrol(auth, await auth.somebody())
    challenge = (await challenged(auth))["challenge"]
    code = app.code
    await answered(auth, challenge, code="135790")
    await answered(auth, challenge, code=code)
    await answered(auth, (await challenged(auth))["challenge"], recovery_code=app.codes[0])
    written = capsys.readouterr().out
    assert "http.response" in written
    for secret in (app.totp.secret, challenge, *app.codes):
        assert secret not in written
    for typed_code in ("135790", code):
        assert f'"{typed_code}"' not in written


async def test_lets_nobody_wait_in_a_ring_when_factors_are_used_and_removed_at_once(auth, start):
    app = await enrol(auth, await auth.somebody())
    patient = await start(auth_second_factor_max_failures=10)
    bundle = (await answered(auth, (await challenged(auth))["challenge"], code=app.code)).json()
    challenges = [(await challenged(patient))["challenge"] for _ in range(8)]
    answers = await asyncio.gather(
        *(
            answered(patient, challenge, recovery_code=code)
            for challenge, code in zip(challenges, app.codes[:8], strict=True)
        ),
        delete(patient, "factors/totp", bundle),
        patient.post("step-up", bundle["access_token"], recovery_code=app.codes[8]),
        patient.post("factors/recovery-codes", bundle["access_token"]),
    )
    assert max(answer.status_code for answer in answers) < 500


async def test_clears_away_what_nobody_answered(auth):
    await enrol(auth, await auth.somebody())
    await challenged(auth)
    await auth.database.execute("update challenges set expires_at = now() - interval '1 second'")
    await challenged(auth)
    await ExpiryWorker(auth.app.state.resources.database).step()
    assert await auth.database.fetchval("select count(*) from challenges") == 1


async def test_is_required_also_after_a_password_reset(auth):
    app = await enrol(auth, await auth.somebody())
    await auth.post("password/forgot", email="ann@example.com")
    token = (await auth.mails("password_reset"))[-1]["token"]
    answer = await auth.post("password/reset", token=token, password="an entirely new phrase")
    assert (answer.status_code, answer.content) == (204, b"")
    problem = (await auth.sign_in(password="an entirely new phrase")).json()
    assert problem["code"] == "second_factor_required"
    assert (await answered(auth, problem["challenge"], code=app.code)).status_code == 200
