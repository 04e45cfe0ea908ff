import asyncio
import time

import pyotp
import pytest
from servicekit.encryption import DecryptionFailed, decrypt

from .factor_helpers import answered, challenged, delete, enrol, listed


async def test_gives_a_seed_of_160_bits_and_the_address_of_an_app(auth):
    bundle = await auth.somebody()
    answer = await auth.post("factors/totp", bundle["access_token"])
    seed, uri = answer.json()["seed"], answer.json()["otpauth_uri"]
    assert (answer.status_code, answer.headers["cache-control"]) == (201, "no-store")
    assert len(pyotp.TOTP(seed).byte_secret()) == 20
    app = pyotp.parse_uri(uri)
    assert (app.secret, app.issuer, app.name) == (seed, "Acme", "ann@example.com")


async def test_counts_only_when_a_code_was_right(auth):
    bundle = await auth.somebody()
    begun = (await auth.post("factors/totp", bundle["access_token"])).json()
    assert (await auth.sign_in()).status_code == 200
    assert (await listed(auth, bundle))["totp"] is None
    wrong = await auth.post("factors/totp/confirm", bundle["access_token"], code="000000")
    assert (wrong.status_code, wrong.json()["code"]) == (400, "invalid_totp_code")
    assert (await auth.sign_in()).status_code == 200
    code = pyotp.TOTP(begun["seed"]).now()
    done = await auth.post("factors/totp/confirm", bundle["access_token"], code=code)
    assert len(done.json()["recovery_codes"]) == 10
    await challenged(auth)
    assert (await listed(auth, bundle))["totp"]["confirmed_at"]
    [mail] = await auth.mails("second_factor_added")
    assert (mail["email"], mail["facts"]) == ("ann@example.com", {"factor": "totp"})
    assert [row["actor"] for row in await auth.audited("authn_second_factor_added")] == [bundle["user_id"]]


async def test_forgets_a_seed_that_was_not_confirmed_when_another_is_requested(auth):
    bundle = await auth.somebody()
    first, second = [(await auth.post("factors/totp", bundle["access_token"])).json() for _ in range(2)]
    stale = pyotp.TOTP(first["seed"]).now()
    assert (await auth.post("factors/totp/confirm", bundle["access_token"], code=stale)).status_code == 400
    code = pyotp.TOTP(second["seed"]).now()
    assert (await auth.post("factors/totp/confirm", bundle["access_token"], code=code)).status_code == 200


async def test_keeps_the_seed_sealed_and_bound_to_its_row(auth):
    app = await enrol(auth, await auth.somebody())
    row = await auth.database.fetchrow("select * from totp_factors")
    key = auth.settings.auth_session_encryption_key
    assert app.totp.secret not in str(dict(row))
    assert decrypt(key, row["sealed_seed"], context=f"auth.totp:{row['id']}") == app.totp.secret
    with pytest.raises(DecryptionFailed):
        decrypt(key, row["sealed_seed"], context=f"auth.totp:{row['user_id']}")


@pytest.mark.parametrize(
    "typed",
    ["{0} {1}", " {0}{1}\n", "{0}-{1}", "{0}\N{EN DASH}{1}", "{0}\N{NO-BREAK SPACE}{1}", "wide"],
)
async def test_takes_a_code_however_it_is_typed(auth, typed):
    app = await enrol(auth, await auth.somebody())
    code = app.code
    typed = typed.format(code[:3], code[3:])
    if typed == "wide":
        typed = code.translate({ord("0") + digit: 0xFF10 + digit for digit in range(10)})
    answer = await answered(auth, (await challenged(auth))["challenge"], code=typed)
    assert answer.status_code == 200, answer.text


async def test_takes_a_code_once(auth):
    app = await enrol(auth, await auth.somebody())
    code = app.code
    first = await answered(auth, (await challenged(auth))["challenge"], code=code)
    again = await answered(auth, (await challenged(auth))["challenge"], code=code)
    assert first.status_code == 200
    assert (again.status_code, again.json()["code"]) == (401, "invalid_factor")


async def test_counts_the_code_of_the_confirmation_as_used(auth):
    bundle = await auth.somebody()
    begun = (await auth.post("factors/totp", bundle["access_token"])).json()
    code = pyotp.TOTP(begun["seed"]).now()
    await auth.post("factors/totp/confirm", bundle["access_token"], code=code)
    assert (await answered(auth, (await challenged(auth))["challenge"], code=code)).status_code == 401


async def test_takes_a_code_once_of_twenty_at_once(auth, start):
    app = await enrol(auth, await auth.somebody())
    patient = await start(auth_second_factor_max_failures=10)
    challenges = [(await challenged(patient))["challenge"] for _ in range(20)]
    # Each reading is of the moment: two of them may be of two steps.
    code = app.code
    answers = await asyncio.gather(*(answered(patient, one, code=code) for one in challenges))
    assert [answer.status_code for answer in answers].count(200) == 1
    assert {answer.status_code for answer in answers} <= {200, 401, 429}


# Seconds from the beginning of the code's step to the moment at which it is entered.
@pytest.mark.parametrize(
    ("after", "status"),
    [(-30, 401), (-5.001, 401), (-5, 200), (0, 200), (29.999, 200), (54.999, 200), (55, 401), (90, 401)],
)
async def test_accepts_a_code_from_5_seconds_before_its_step_to_25_seconds_after_it(
    auth, monkeypatch, after, status
):
    app = await enrol(auth, await auth.somebody())
    challenge = (await challenged(auth))["challenge"]
    begin = time.time() // 30 * 30
    monkeypatch.setattr("auth.factors.totp.clock", lambda: begin + after)
    answer = await answered(auth, challenge, code=app.totp.at(begin))
    assert answer.status_code == status
    # Set by the confirmation just now, and put back by ten steps; every accepted code moves it on.
    assert (await listed_step(auth) == begin // 30) is (status == 200)


async def listed_step(auth):
    return await auth.database.fetchval("select last_step from totp_factors")


async def test_accepts_two_codes_at_any_moment_and_the_same_rule_at_enrolment(auth, monkeypatch):
    bundle = await auth.somebody()
    begin = time.time() // 30 * 30
    for moment in (0, 10, 24.999, 25, 29.999):
        seed = (await auth.post("factors/totp", bundle["access_token"])).json()["seed"]
        monkeypatch.setattr("auth.factors.totp.clock", lambda moment=moment: begin + moment)
        right = []
        for step in range(-3, 4):
            code = pyotp.TOTP(seed).at(begin, counter_offset=step)
            answer = await auth.post("factors/totp/confirm", bundle["access_token"], code=code)
            right += [step] if answer.status_code == 200 else []
            await auth.database.execute("update totp_factors set confirmed_at = null")
        assert right == ([-1, 0] if moment < 25 else [0, 1])


async def test_refuses_a_code_that_is_older_than_one_that_was_used(auth, monkeypatch):
    app = await enrol(auth, await auth.somebody())
    begin = time.time() // 30 * 30
    # Both would be accepted now.
    monkeypatch.setattr("auth.factors.totp.clock", lambda: begin + 10)
    newer, older = (app.totp.at(begin, counter_offset=step) for step in (0, -1))
    assert (await answered(auth, (await challenged(auth))["challenge"], code=newer)).status_code == 200
    assert (await answered(auth, (await challenged(auth))["challenge"], code=older)).status_code == 401


async def test_refuses_the_code_of_somebody_else(auth):
    await enrol(auth, await auth.somebody())
    bobs = await enrol(auth, await auth.somebody("bob@example.com"))
    assert (await answered(auth, (await challenged(auth))["challenge"], code=bobs.code)).status_code == 401


async def test_has_one_app_at_a_time(auth):
    bundle = await auth.somebody()
    app = await enrol(auth, bundle)
    fresh = (await answered(auth, (await challenged(auth))["challenge"], code=app.code)).json()
    for path, body in (("factors/totp", {}), ("factors/totp/confirm", {"code": app.code})):
        answer = await auth.post(path, fresh["access_token"], **body)
        assert (answer.status_code, answer.json()["code"]) == (409, "totp_already_exists")


async def test_removes_the_app_ends_other_sessions_and_tells(auth):
    bundle, other = await auth.somebody(), await auth.session()
    app = await enrol(auth, bundle)
    fresh = (await answered(auth, (await challenged(auth))["challenge"], code=app.code)).json()
    assert (await delete(auth, "factors/totp", fresh)).status_code == 204
    assert (await auth.refresh(other)).status_code == 401
    assert (await auth.refresh(bundle)).status_code == 401
    assert (await auth.refresh(fresh)).status_code == 200
    assert (await auth.sign_in()).status_code == 200
    assert [mail["facts"] for mail in await auth.mails("second_factor_removed")] == [{"factor": "totp"}]
    [row] = await auth.audited("authn_second_factor_removed")
    assert row["subject"] == bundle["user_id"]
    assert await listed(auth, fresh) == {"totp": None, "passkeys": [], "recovery_codes_left": 0}
    assert (await delete(auth, "factors/totp", fresh)).json()["code"] == "factor_not_found"


@pytest.mark.parametrize("code", ["12345", "1234567", "", None, 123456, ["123456"]])
async def test_looks_at_nothing_but_six_characters(auth, code):
    bundle = await auth.somebody()
    answer = await auth.post("factors/totp/confirm", bundle["access_token"], code=code)
    assert answer.status_code == 422
