import asyncio
from uuid import UUID

import pytest
from servicekit.auth import jose

from .authenticator import (
    BACKED_UP,
    ELIGIBLE,
    PRESENT,
    VERIFIED,
    Authenticator,
    eddsa,
    es256,
)
from .factor_helpers import answered, challenged, delete, enrol, listed, register


async def request_options(auth):
    answer = await auth.post("passkeys/sign-in/options")
    assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-store")
    return answer.json()


async def sign_in_with(auth, key, **lies):
    """Sign in with a passkey."""
    begun = await request_options(auth)
    passkey = key.sign(begun["options"], **lies)
    return await auth.post("passkeys/sign-in", challenge=begun["challenge"], passkey=passkey)


async def with_passkey(auth, key=None, email="ann@example.com"):
    """Somebody with a passkey, and a session that was begun with it."""
    key = key or Authenticator()
    assert (await register(auth, await auth.somebody(email), key)).status_code == 201
    return key, (await sign_in_with(auth, key)).json()


@pytest.mark.parametrize("make", [es256, eddsa])
async def test_registers_a_passkey_and_lets_in_with_nothing_else(auth, make):
    bundle, key = await auth.somebody(), Authenticator(make())
    added = await register(auth, bundle, key)
    assert (added.status_code, added.headers["cache-control"]) == (201, "no-store")
    assert len(added.json()["recovery_codes"]) == 10
    answer = await sign_in_with(auth, key)
    signed_in = answer.json()
    assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-store")
    assert (signed_in["user_id"], signed_in["tenant_id"]) == (bundle["user_id"], bundle["tenant_id"])
    assert signed_in["session_id"] != bundle["session_id"]
    assert auth.claims(signed_in)["amr"] == ["hwk", "user", "mfa"]
    assert [mail["facts"] for mail in await auth.mails("second_factor_added")] == [{"factor": "passkey"}]
    row = (await auth.audited("authn_login_success"))[-1]
    assert row["actor"] == bundle["user_id"]


async def test_tells_a_passkey_that_can_be_copied_between_devices(auth):
    synced = Authenticator(flags=PRESENT | VERIFIED | ELIGIBLE | BACKED_UP)
    _, bundle = await with_passkey(auth, synced)
    assert auth.claims(bundle)["amr"] == ["swk", "user", "mfa"]


async def test_asks_for_what_a_passkey_must_be(auth):
    bundle = await auth.somebody()
    begun = (await auth.post("factors/passkeys/options", bundle["access_token"])).json()
    options = begun["options"]
    assert options["rp"] == {"id": "app.acme.test", "name": "Acme"}
    assert len(jose.decode(options["challenge"])) == 32
    assert options["attestation"] == "none"
    assert options["authenticatorSelection"]["userVerification"] == "required"
    assert options["authenticatorSelection"]["residentKey"] == "required"
    # Opaque, and not the address.
    assert UUID(bytes=jose.decode(options["user"]["id"])) == UUID(bundle["user_id"].removeprefix("user:"))
    begun = await request_options(auth)
    assert begun["options"]["userVerification"] == "required"
    assert begun["options"]["rpId"] == "app.acme.test"
    assert not begun["options"].get("allowCredentials")
    assert len(jose.decode(begun["options"]["challenge"])) == 32


async def test_takes_rp_and_origins_from_the_settings(auth, start):
    other = await start(auth_webauthn_rp_id="acme.test", auth_webauthn_origins=["https://login.acme.test"])
    bundle, key = await auth.somebody(), Authenticator()
    assert (await register(other, bundle, key)).json()["code"] == "invalid_passkey"
    assert (await register(other, bundle, key, origin="https://login.acme.test")).status_code == 201
    assert (await sign_in_with(other, key, origin="https://login.acme.test")).status_code == 200
    assert (await sign_in_with(other, key)).status_code == 401


async def test_offers_none_where_nobody_knows_the_host(auth, start):
    homeless = await start(app_public_url=None)
    bundle = await auth.somebody()
    for path in ("passkeys/sign-in/options", "factors/passkeys/options", "step-up/options"):
        answer = await homeless.post(path, bundle["access_token"])
        assert (answer.status_code, answer.json()["code"]) == (404, "passkeys_disabled")


LIES = [
    {"origin": "https://app.acme.test.evil.example"},
    {"origin": "http://app.acme.test"},
    {"origin": "https://app.acme.test:8443"},
    {"rp_id": "evil.example"},
    {"challenge": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"},
]


@pytest.mark.parametrize("lies", [*LIES, {"kind": "webauthn.get"}])
async def test_registers_nothing_that_was_made_elsewhere(auth, lies):
    bundle = await auth.somebody()
    answer = await register(auth, bundle, Authenticator(), **lies)
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_passkey")
    assert (await listed(auth, bundle))["passkeys"] == []


@pytest.mark.parametrize("flags", [PRESENT, VERIFIED, 0])
async def test_registers_nothing_that_does_not_know_its_person(auth, flags):
    answer = await register(auth, await auth.somebody(), Authenticator(flags=flags))
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_passkey")


@pytest.mark.parametrize(
    "lies",
    [
        *LIES,
        {"kind": "webauthn.create"},
        {"signer": Authenticator()},
        {"user_handle": b""},
        {"user_handle": b"x" * 16},
    ],
)
async def test_lets_nobody_in_with_what_is_not_right(auth, lies):
    key, bundle = await with_passkey(auth)
    answer = await sign_in_with(auth, key, **lies)
    assert (answer.status_code, answer.json()["code"]) == (401, "invalid_factor")
    assert answer.headers["www-authenticate"] == "Bearer"
    assert len(await auth.audited("authn_login_fail")) == 1
    assert (await sign_in_with(auth, key)).json()["user_id"] == bundle["user_id"]


@pytest.mark.parametrize("flags", [PRESENT, VERIFIED, 0])
async def test_lets_nobody_in_whose_device_was_not_unlocked(auth, flags):
    key, _ = await with_passkey(auth)
    key.flags = flags
    assert (await sign_in_with(auth, key)).json()["code"] == "invalid_factor"


async def test_refuses_a_passkey_that_nobody_has_registered(auth):
    stranger = Authenticator(user_handle=b"x" * 16)
    assert (await sign_in_with(auth, stranger)).json()["code"] == "invalid_factor"


async def test_refuses_a_passkey_that_says_it_is_somebody_else_s(auth):
    anns, _ = await with_passkey(auth)
    bobs, _ = await with_passkey(auth, email="bob@example.com")
    assert (await sign_in_with(auth, anns, user_handle=bobs.user_handle)).json()["code"] == "invalid_factor"


async def test_takes_a_challenge_once(auth):
    key, _ = await with_passkey(auth)
    begun = await request_options(auth)
    passkey = key.sign(begun["options"])
    answers = await asyncio.gather(
        *(auth.post("passkeys/sign-in", challenge=begun["challenge"], passkey=passkey) for _ in range(20))
    )
    assert sorted(answer.status_code for answer in answers) == [200] + [401] * 19
    replayed = await auth.post(
        "passkeys/sign-in", challenge=begun["challenge"], passkey=key.sign(begun["options"])
    )
    assert replayed.json()["code"] == "invalid_challenge"


async def test_uses_a_challenge_up_also_when_it_refuses(auth):
    key, _ = await with_passkey(auth)
    begun = await request_options(auth)
    for passkey in (key.sign(begun["options"], origin="https://evil.example"), key.sign(begun["options"])):
        answer = await auth.post("passkeys/sign-in", challenge=begun["challenge"], passkey=passkey)
        assert answer.status_code == 401
    bundle = (await sign_in_with(auth, key)).json()
    begun = (await auth.post("factors/passkeys/options", bundle["access_token"])).json()
    new = Authenticator()
    for lies in ({"origin": "https://evil.example"}, {}):
        made = new.register(begun["options"], **lies)
        answer = await auth.post(
            "factors/passkeys", bundle["access_token"], challenge=begun["challenge"], passkey=made
        )
        assert answer.json()["code"] == "invalid_passkey"


async def test_refuses_a_challenge_that_is_too_old_or_was_issued_elsewhere(auth):
    key, _ = await with_passkey(auth)
    begun = await request_options(auth)
    body = {"challenge": begun["challenge"], "passkey": key.sign(begun["options"])}
    elsewhere = {"X-Forwarded-For": "203.0.113.9"}
    answer = await auth.public.post("/api/v1/auth/passkeys/sign-in", json=body, headers=elsewhere)
    assert answer.json()["code"] == "invalid_challenge"
    left = await auth.database.fetchval("select max(expires_at) - now() from challenges")
    assert left.total_seconds() <= 300
    await auth.database.execute("update challenges set expires_at = now() - interval '1 second'")
    assert (await auth.post("passkeys/sign-in", **body)).json()["code"] == "invalid_challenge"


async def test_takes_no_challenge_that_was_meant_for_something_else(auth):
    key, bundle = await with_passkey(auth)
    for_step_up = (await auth.post("step-up/options", bundle["access_token"])).json()
    answer = await auth.post(
        "passkeys/sign-in",
        challenge=for_step_up["challenge"],
        passkey=key.sign(for_step_up["options"]),
    )
    assert answer.json()["code"] == "invalid_challenge"
    for_sign_in, new = await request_options(auth), Authenticator()
    begun = (await auth.post("factors/passkeys/options", bundle["access_token"])).json()
    made = new.register({**begun["options"], "challenge": for_sign_in["options"]["challenge"]})
    answer = await auth.post(
        "factors/passkeys", bundle["access_token"], challenge=for_sign_in["challenge"], passkey=made
    )
    assert answer.json()["code"] == "invalid_passkey"


async def test_registers_only_in_the_session_that_requested_it(auth):
    key, bundle = await with_passkey(auth)
    begun = (await auth.post("factors/passkeys/options", bundle["access_token"])).json()
    other = (await sign_in_with(auth, key)).json()
    made = Authenticator().register(begun["options"])
    body = {"challenge": begun["challenge"], "passkey": made}
    answer = await auth.post("factors/passkeys", other["access_token"], **body)
    assert answer.json()["code"] == "invalid_passkey"
    assert (await auth.post("factors/passkeys", bundle["access_token"], **body)).status_code == 201


async def test_sounds_an_alarm_for_a_passkey_that_was_copied(auth):
    key, bundle = await with_passkey(auth)
    copy = Authenticator(key.key, counter=key.counter, credential_id=key.credential_id)
    copy.user_handle = key.user_handle
    assert (await sign_in_with(auth, key)).status_code == 200
    # Counts on from where it was copied, and so tells the same number.
    assert (await sign_in_with(auth, copy)).json()["code"] == "invalid_factor"
    [row] = await auth.audited("authn_passkey_cloned")
    [known] = (await listed(auth, bundle))["passkeys"]
    assert row["detail"] == f'{{"passkey": "{known["id"]}"}}'


async def test_sounds_the_alarm_also_for_a_second_factor(auth):
    key, bundle = await with_passkey(auth)
    problem = await challenged(auth)
    key.counter = 0
    answer = await answered(auth, problem["challenge"], passkey=key.sign(problem["passkey"]))
    assert answer.json()["code"] == "invalid_factor"
    [row] = await auth.audited("authn_passkey_cloned")
    assert row["actor"] == bundle["user_id"]


async def test_takes_a_passkey_that_never_counts(auth):
    key, bundle = Authenticator(), await auth.somebody()
    await register(auth, bundle, key)
    for _ in range(2):
        assert (await sign_in_with(auth, key, counts=False)).status_code == 200


async def test_is_a_second_factor_after_a_password(auth):
    key, bundle = await with_passkey(auth)
    problem = await challenged(auth)
    assert problem["factors"] == ["passkey", "recovery_code"]
    [allowed] = problem["passkey"]["allowCredentials"]
    assert allowed["id"] == jose.encode(key.credential_id)
    assert problem["passkey"]["userVerification"] == "required"
    answer = await answered(auth, problem["challenge"], passkey=key.sign(problem["passkey"]))
    assert answer.json()["user_id"] == bundle["user_id"]
    assert auth.claims(answer.json())["amr"] == ["pwd", "hwk", "user", "mfa"]


@pytest.mark.parametrize("handle", ["", None])
async def test_is_a_second_factor_also_without_a_user_handle(auth, handle):
    key, _ = await with_passkey(auth)
    problem = await challenged(auth)
    signed = key.sign(problem["passkey"])
    signed["response"]["userHandle"] = handle
    assert (await answered(auth, problem["challenge"], passkey=signed)).status_code == 200


async def test_is_no_second_factor_for_somebody_else(auth):
    await with_passkey(auth)
    bobs, _ = await with_passkey(auth, email="bob@example.com")
    problem = await challenged(auth)
    answer = await answered(auth, problem["challenge"], passkey=bobs.sign(problem["passkey"]))
    assert answer.json()["code"] == "invalid_factor"


async def test_lets_its_owner_in_while_other_factors_are_blocked(auth):
    key, _ = await with_passkey(auth)
    problem = await challenged(auth)
    for _ in range(6):
        answer = await answered(auth, problem["challenge"], recovery_code="aaaa-aaaa-aaaa-aaaa")
    assert answer.status_code == 429
    assert (await sign_in_with(auth, key)).status_code == 200
    assert (
        await answered(auth, problem["challenge"], passkey=key.sign(problem["passkey"]))
    ).status_code == 200


async def test_lets_nobody_in_who_may_not(auth):
    key, bundle = await with_passkey(auth)
    other = await auth.somebody("bob@example.com")
    begun = await request_options(auth)
    answer = await auth.post(
        "passkeys/sign-in",
        challenge=begun["challenge"],
        passkey=key.sign(begun["options"]),
        tenant_id=other["tenant_id"],
    )
    assert answer.json()["code"] == "invalid_factor"
    await auth.database.execute(
        "update users set status = 'disabled' where id = $1", bundle["user_id"].removeprefix("user:")
    )
    assert (await sign_in_with(auth, key)).json()["code"] == "invalid_factor"


async def test_has_several_and_renames_and_removes_them(auth):
    first, bundle = await with_passkey(auth)
    other = (await sign_in_with(auth, first)).json()
    second = Authenticator(eddsa())
    added = (await register(auth, bundle, second)).json()
    # Codes come with the first factor only.
    assert added["recovery_codes"] is None
    url = f"/api/v1/auth/factors/passkeys/{added['passkey']['id']}"
    headers = {"Authorization": f"Bearer {bundle['access_token']}"}
    renamed = await auth.public.patch(url, json={"name": "Key on my keys"}, headers=headers)
    assert (renamed.status_code, renamed.json()["name"]) == (200, "Key on my keys")
    assert [one["name"] for one in (await listed(auth, bundle))["passkeys"]] == ["Passkey", "Key on my keys"]
    assert (await delete(auth, f"factors/passkeys/{added['passkey']['id']}", bundle)).status_code == 204
    assert (await auth.refresh(other)).status_code == 401
    assert (await auth.refresh(bundle)).status_code == 200
    assert (await sign_in_with(auth, second)).status_code == 401
    assert (await sign_in_with(auth, first)).status_code == 200
    assert [mail["facts"] for mail in await auth.mails("second_factor_removed")] == [{"factor": "passkey"}]
    assert len(await auth.audited("authn_second_factor_removed")) == 1
    assert (await listed(auth, bundle))["recovery_codes_left"] == 10


async def test_registers_a_passkey_once(auth):
    key, bundle = await with_passkey(auth)
    begun = (await auth.post("factors/passkeys/options", bundle["access_token"])).json()
    [excluded] = begun["options"]["excludeCredentials"]
    assert excluded["id"] == jose.encode(key.credential_id)
    assert (await register(auth, bundle, key)).json()["code"] == "passkey_already_exists"
    _, bobs = await with_passkey(auth, email="bob@example.com")
    assert (await register(auth, bobs, key)).json()["code"] == "passkey_already_exists"


async def test_does_not_know_the_passkeys_of_others(auth):
    _, anns = await with_passkey(auth)
    _, bobs = await with_passkey(auth, email="bob@example.com")
    [theirs] = (await listed(auth, anns))["passkeys"]
    path = f"factors/passkeys/{theirs['id']}"
    answers = [
        await delete(auth, path, bobs),
        await auth.public.patch(
            f"/api/v1/auth/{path}",
            json={"name": "Mine"},
            headers={"Authorization": f"Bearer {bobs['access_token']}"},
        ),
    ]
    assert [(one.status_code, one.json()["code"]) for one in answers] == [(404, "factor_not_found")] * 2
    assert (await listed(auth, anns))["passkeys"] == [theirs]


async def test_has_no_more_than_twenty(auth):
    _, bundle = await with_passkey(auth)
    await auth.database.execute(
        "insert into passkeys (id, user_id, credential_id, public_key, sign_count, name)"
        " select gen_random_uuid(), user_id, n::text::bytea, public_key, 0, 'x'"
        " from passkeys, generate_series(1, 19) n"
    )
    answer = await auth.post("factors/passkeys/options", bundle["access_token"])
    assert (answer.status_code, answer.json()["code"]) == (409, "too_many_passkeys")


async def test_has_both_an_app_and_a_passkey(auth):
    _, bundle = await with_passkey(auth)
    app = await enrol(auth, bundle)
    assert app.codes is None
    assert (await challenged(auth))["factors"] == ["totp", "passkey", "recovery_code"]


BROKEN = [
    {"id": "AAAA"},
    {"rawId": "AAAA"},
    {"response": {"clientDataJSON": "AAAA", "authenticatorData": "AAAA", "signature": "AAAA"}},
    {"response": {"clientDataJSON": "bnVsbA", "authenticatorData": "AAAA", "signature": "AAAA"}},
]


@pytest.mark.parametrize("broken", BROKEN)
async def test_refuses_what_is_no_passkey_at_all(auth, broken):
    key, _ = await with_passkey(auth)
    begun = await request_options(auth)
    passkey = {**key.sign(begun["options"]), **broken}
    if "response" in broken:
        passkey["response"] = {**broken["response"], "userHandle": jose.encode(key.user_handle)}
    answer = await auth.post("passkeys/sign-in", challenge=begun["challenge"], passkey=passkey)
    assert (answer.status_code, answer.json()["code"]) == (401, "invalid_factor")


@pytest.mark.parametrize("made", ["AAAA", "oA", "v2ZjZm10ZG5vbmX_", "-_-_"])
async def test_registers_nothing_that_is_no_attestation(auth, made):
    bundle = await auth.somebody()
    begun = (await auth.post("factors/passkeys/options", bundle["access_token"])).json()
    passkey = Authenticator().register(begun["options"])
    passkey["response"]["attestationObject"] = made
    answer = await auth.post(
        "factors/passkeys", bundle["access_token"], challenge=begun["challenge"], passkey=passkey
    )
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_passkey")


@pytest.mark.parametrize("raw_id", ["", "A", "AAAAA", "AA==", "A A", "🥐"])
async def test_looks_at_nothing_that_is_not_base64url(auth, raw_id):
    key, _ = await with_passkey(auth)
    begun = await request_options(auth)
    passkey = {**key.sign(begun["options"]), "rawId": raw_id}
    answer = await auth.post("passkeys/sign-in", challenge=begun["challenge"], passkey=passkey)
    assert answer.status_code == 422
