import asyncio
import math
import re
from uuid import UUID

import pyotp
import pytest
from auth.factors import recovery_codes
from auth.security.keyed_hash import keyed_hash

from .conftest import FULL_COST
from .factor_helpers import answered, challenged, delete, enrol, listed

# Five bits a character; the first is the code's number and no secret.
SHAPE = re.compile(r"[0-9][0-9a-hjkmnp-tv-z]{3}(-[0-9a-hjkmnp-tv-z]{4}){6}")


async def test_gives_ten_codes_of_135_random_bits_with_the_first_factor(auth):
    app = await enrol(auth, await auth.somebody())
    assert len(set(app.codes)) == 10
    for number, code in enumerate(app.codes):
        assert SHAPE.fullmatch(code), code
        assert code[0] == str(number)
    # Every character of the alphabet comes, so each is worth five bits.
    characters = "".join(code.replace("-", "")[1:] for _ in range(20) for code in made())
    assert set(characters) == set(recovery_codes.ALPHABET)
    assert (recovery_codes.LENGTH - 1) * math.log2(len(recovery_codes.ALPHABET)) >= 128


def made():
    return [recovery_codes.generate(number) for number in range(recovery_codes.CODE_COUNT)]


async def test_keeps_salted_hashes_of_the_same_cost_as_passwords(start):
    auth = await start(**FULL_COST)
    app = await enrol(auth, await auth.somebody())
    rows = await auth.database.fetch("select * from recovery_codes")
    hashes = [row["secret_hash"].partition(":")[2] for row in rows]
    assert len(rows) == len({one.split("$")[4] for one in hashes}) == 10
    assert {"$".join(one.split("$")[:4]) for one in hashes} == {"$argon2id$v=19$m=19456,t=2,p=1"}
    stored = "".join(str(dict(row)) for row in rows)
    for code in app.codes:
        assert code not in stored
        assert code.replace("-", "") not in stored


@pytest.mark.parametrize("which", ["right", "used", "wrong", "unknown"])
async def test_an_attempt_costs_one_hash_whatever_the_code(auth, monkeypatch, which):
    app = await enrol(auth, await auth.somebody())
    await answered(auth, (await challenged(auth))["challenge"], recovery_code=app.codes[0])
    challenge = (await challenged(auth))["challenge"]
    shown = {
        "right": app.codes[1],
        "used": app.codes[0],
        "wrong": app.codes[1][:-4] + "0000",
        "unknown": "z" * 28,
    }
    passwords, computed = auth.app.state.services.passwords, []
    verify = passwords._verify  # where the hash is computed
    monkeypatch.setattr(passwords, "_verify", lambda *what: computed.append(1) or verify(*what))
    answer = await answered(auth, challenge, recovery_code=shown[which])
    assert (answer.status_code, len(computed)) == (200 if which == "right" else 401, 1)


async def test_attempts_are_limited(auth):
    app = await enrol(auth, await auth.somebody())
    challenge = (await challenged(auth))["challenge"]
    for _ in range(5):
        assert (await answered(auth, challenge, recovery_code="0" * 28)).status_code == 401
    blocked = await answered(auth, challenge, recovery_code=app.codes[0])
    assert (blocked.status_code, blocked.json()["code"]) == (429, "factors_blocked")


async def test_new_codes_are_made_only_so_often(start):
    auth = await start(auth_rate_limits={"subject:recovery-codes": 2})
    app = await enrol(auth, await auth.somebody())
    bundle = (await answered(auth, (await challenged(auth))["challenge"], code=app.code)).json()
    answers = [await auth.post("factors/recovery-codes", bundle["access_token"]) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]


async def keep_older_code(auth, bundle, code):
    """Store a code as the version before did: 80 bits, found by its keyed digest."""
    user_id = UUID(bundle["user_id"].removeprefix("user:"))
    pepper = auth.settings.auth_password_pepper
    digest = keyed_hash(pepper, "recovery code", user_id.bytes, code.replace("-", ""))
    await auth.database.execute("delete from recovery_codes")
    await auth.database.execute(
        "insert into recovery_codes (digest, user_id) values ($1, $2)", digest, user_id
    )


async def test_a_code_of_an_older_version_works_once(auth):
    bundle = await auth.somebody()
    await enrol(auth, bundle)
    # With letters that newer codes do not have.
    await keep_older_code(auth, bundle, "abil-olou-2345-67zz")
    for typed, status in (
        ("abil-olou-2345-67zy", 401),
        ("ABIL olou 234567zz", 200),
        ("abil-olou-2345-67zz", 401),
    ):
        answer = await answered(auth, (await challenged(auth))["challenge"], recovery_code=typed)
        assert answer.status_code == status, typed


async def test_new_codes_replace_those_of_an_older_version(auth):
    bundle = await auth.somebody()
    app = await enrol(auth, bundle)
    await keep_older_code(auth, bundle, "abcd-efgh-ijkl-mnop")
    entered = (await answered(auth, (await challenged(auth))["challenge"], code=app.code)).json()
    assert (await listed(auth, entered))["recovery_codes_left"] == 1
    await auth.post("factors/recovery-codes", entered["access_token"])
    assert (await listed(auth, entered))["recovery_codes_left"] == 10
    challenge = (await challenged(auth))["challenge"]
    assert (await answered(auth, challenge, recovery_code="abcd-efgh-ijkl-mnop")).status_code == 401


async def test_two_factors_at_once_come_with_one_set_of_codes(auth):
    """Codes that were shown are those that count, however the requests fall."""
    bundle = await auth.somebody()
    seed = (await auth.post("factors/totp", bundle["access_token"])).json()["seed"]
    code = pyotp.TOTP(seed).now()
    answers = await asyncio.gather(
        *(auth.post("factors/totp/confirm", bundle["access_token"], code=code) for _ in range(5))
    )
    assert sorted(answer.status_code for answer in answers) == [200, 409, 409, 409, 409]
    [shown] = [answer.json()["recovery_codes"] for answer in answers if answer.status_code == 200]
    assert (
        await answered(auth, (await challenged(auth))["challenge"], recovery_code=shown[9])
    ).status_code == 200


async def test_lets_somebody_in_once_with_each_and_says_so(auth):
    bundle = await auth.somebody()
    app = await enrol(auth, bundle)
    code = app.codes[3]
    first = await answered(auth, (await challenged(auth))["challenge"], recovery_code=code)
    again = await answered(auth, (await challenged(auth))["challenge"], recovery_code=code)
    assert (first.status_code, auth.claims(first.json())["amr"]) == (200, ["pwd", "otp", "mfa"])
    assert (again.status_code, again.json()["code"]) == (401, "invalid_factor")
    [mail] = await auth.mails("recovery_code_used")
    assert (mail["email"], mail["facts"]) == ("ann@example.com", {"left": "9"})
    [row] = await auth.audited("authn_recovery_code_used")
    assert row["actor"] == bundle["user_id"]
    assert (await listed(auth, first.json()))["recovery_codes_left"] == 9


async def test_takes_a_code_once_of_twenty_at_once(auth, start):
    app = await enrol(auth, await auth.somebody())
    patient = await start(auth_second_factor_max_failures=10)
    challenges = [(await challenged(patient))["challenge"] for _ in range(20)]
    answers = await asyncio.gather(
        *(answered(patient, one, recovery_code=app.codes[0]) for one in challenges)
    )
    assert [answer.status_code for answer in answers].count(200) == 1
    assert len(await auth.mails("recovery_code_used")) == 1


async def test_takes_a_code_however_it_is_typed(auth):
    app = await enrol(auth, await auth.somebody())
    mistaken = app.codes[3].replace("1", "l").replace("0", "O")
    for typed in (
        app.codes[0].upper(),
        app.codes[1].replace("-", ""),
        app.codes[2].replace("-", " "),
        app.codes[4].replace("-", "\N{EN DASH}"),
        app.codes[5].replace("-", "\N{NON-BREAKING HYPHEN}") + "\n",
        mistaken,
    ):
        answer = await answered(auth, (await challenged(auth))["challenge"], recovery_code=typed)
        assert answer.status_code == 200, typed


async def test_refuses_the_codes_of_somebody_else(auth):
    await enrol(auth, await auth.somebody())
    bobs = await enrol(auth, await auth.somebody("bob@example.com"))
    challenge = (await challenged(auth))["challenge"]
    assert (await answered(auth, challenge, recovery_code=bobs.codes[0])).status_code == 401
    challenge = (await challenged(auth, "bob@example.com"))["challenge"]
    assert (await answered(auth, challenge, recovery_code=bobs.codes[0])).status_code == 200


async def test_voids_the_codes_before_when_they_are_renewed_and_says_so(auth):
    app = await enrol(auth, await auth.somebody())
    bundle = (await answered(auth, (await challenged(auth))["challenge"], code=app.code)).json()
    answer = await auth.post("factors/recovery-codes", bundle["access_token"])
    renewed = answer.json()["recovery_codes"]
    assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-store")
    assert len({*renewed, *app.codes}) == 20
    old = await answered(auth, (await challenged(auth))["challenge"], recovery_code=app.codes[0])
    new = await answered(auth, (await challenged(auth))["challenge"], recovery_code=renewed[0])
    assert (old.status_code, new.status_code) == (401, 200)
    [mail] = await auth.mails("recovery_codes_renewed")
    assert mail["recipient"] == bundle["user_id"]
    # The first time with the factor, and now.
    assert len(await auth.audited("authn_recovery_codes_renewed")) == 2


async def test_gives_none_to_somebody_without_a_factor(auth):
    bundle = await auth.somebody()
    answer = await auth.post("factors/recovery-codes", bundle["access_token"])
    assert (answer.status_code, answer.json()["code"]) == (404, "factor_not_found")


async def test_goes_away_with_the_last_factor(auth):
    app = await enrol(auth, await auth.somebody())
    bundle = (await answered(auth, (await challenged(auth))["challenge"], code=app.code)).json()
    assert (await delete(auth, "factors/totp", bundle)).status_code == 204
    assert await auth.database.fetchval("select count(*) from recovery_codes") == 0


async def test_opens_codes_that_the_pepper_before_has_keyed(auth, start):
    app = await enrol(auth, await auth.somebody())
    changed = await start(auth_password_pepper="the pepper that comes after,pepper of passwords")
    challenge = (await challenged(changed))["challenge"]
    assert (await answered(changed, challenge, recovery_code=app.codes[0])).status_code == 200
