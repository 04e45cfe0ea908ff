import asyncio
import re

from .factors import answered, challenged, delete, enrol, listed


async def test_gives_ten_codes_of_80_bits_with_the_first_factor(auth):
    app = await enrol(auth, await auth.somebody())
    assert len(set(app.codes)) == 10
    for code in app.codes:
        # 16 characters of five bits each.
        assert re.fullmatch(r"[a-z2-7]{4}(-[a-z2-7]{4}){3}", code)


async def test_keeps_only_keyed_digests(auth):
    app = await enrol(auth, await auth.somebody())
    rows = await auth.database.fetch("select * from recovery_codes")
    kept = "".join(str(dict(row)) for row in rows)
    assert {len(row["digest"]) for row in rows} == {32}
    for code in app.codes:
        assert code not in kept
        assert code.replace("-", "") not in kept


async def test_lets_somebody_in_once_with_each_and_says_so(auth):
    bundle = await auth.somebody()
    app = await enrol(auth, bundle)
    code = app.codes[3]
    first = await answered(auth, (await challenged(auth))["challenge"], recovery_code=code)
    again = await answered(auth, (await challenged(auth))["challenge"], recovery_code=code)
    assert (first.status_code, auth.claims(first.json())["amr"]) == (200, ["pwd", "otp", "mfa"])
    assert (again.status_code, again.json()["code"]) == (401, "factor_refused")
    [mail] = await auth.mails("recovery_code_used")
    assert (mail["email"], mail["facts"]) == ("ann@example.com", {"left": "9"})
    [row] = await auth.audited("authn_recovery_code_used")
    assert row["actor"] == bundle["user_id"]
    assert (await listed(auth, first.json()))["recovery_codes_left"] == 9


async def test_takes_a_code_once_of_twenty_at_once(auth, start):
    app = await enrol(auth, await auth.somebody())
    patient = await start(auth_second_factor_max_failures=10)
    asked = [(await challenged(patient))["challenge"] for _ in range(20)]
    answers = await asyncio.gather(*(answered(patient, one, recovery_code=app.codes[0]) for one in asked))
    assert [answer.status_code for answer in answers].count(200) == 1
    assert len(await auth.mails("recovery_code_used")) == 1


async def test_takes_a_code_however_it_is_typed(auth):
    app = await enrol(auth, await auth.somebody())
    for typed in (app.codes[0].upper(), app.codes[1].replace("-", ""), app.codes[2].replace("-", " ")):
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
    assert (answer.status_code, answer.json()["code"]) == (404, "factor_unknown")


async def test_goes_away_with_the_last_factor(auth):
    app = await enrol(auth, await auth.somebody())
    bundle = (await answered(auth, (await challenged(auth))["challenge"], code=app.code)).json()
    assert (await delete(auth, "factors/totp", bundle)).status_code == 204
    assert await auth.database.fetchval("select count(*) from recovery_codes") == 0


async def test_opens_codes_that_the_pepper_before_has_keyed(auth, start):
    app = await enrol(auth, await auth.somebody())
    changed = await start(
        auth_password_pepper="the pepper that comes after",
        auth_previous_password_pepper="pepper of passwords",
    )
    challenge = (await challenged(changed))["challenge"]
    assert (await answered(changed, challenge, recovery_code=app.codes[0])).status_code == 200
