"""Requiring a second factor of a tenant's members, by its settings, through HTTP alone."""

import pyotp
import pytest

from .factor_helpers import answered, challenged, delete, enrol

PATH = "tenants/current/settings"


async def replace(auth, bundle, **settings):
    tag = (await auth.ask("GET", PATH, bundle)).headers["etag"]
    return await auth.ask("PUT", PATH, bundle, settings, **{"If-Match": tag})


async def step_up(auth, app, bundle):
    await app.later()
    answer = await auth.post("step-up", bundle["access_token"], code=app.code)
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.fixture
async def owner(auth):
    """An owner with an authenticator app, in a session of two factors."""
    bundle = await auth.somebody()
    app = await enrol(auth, bundle)
    return await step_up(auth, app, bundle)


async def test_members_without_a_factor_set_one_up_before_they_come_in_again(auth, owner):
    bob = await auth.joined(owner, "bob@example.com", "member")
    answer = await replace(auth, owner, mfa_required=True)
    assert (answer.status_code, answer.json()["mfa_required"]) == (200, True)
    assert (await auth.ask("GET", PATH, bob)).json()["mfa_required"] is True
    refused = await auth.refresh(bob)
    assert (refused.status_code, refused.json()["code"]) == (401, "second_factor_missing")
    signing_in = await auth.sign_in("bob@example.com")
    assert (signing_in.status_code, signing_in.json()["code"]) == (401, "second_factor_enrolment_required")
    challenge = signing_in.json()["challenge"]
    seed = (await auth.post("token/enrol/totp", challenge=challenge)).json()["seed"]
    enrolled = await auth.post("token/enrol/totp/confirm", challenge=challenge, code=pyotp.TOTP(seed).now())
    assert enrolled.status_code == 200
    for bundle in (enrolled.json(), owner):
        assert (await auth.refresh(bundle)).status_code == 200


async def test_a_session_of_one_factor_ends_at_its_next_refresh(auth, owner):
    bob = await auth.joined(owner, "bob@example.com", "member")
    await replace(auth, owner, mfa_required=True)
    assert (await auth.refresh(bob)).json()["code"] == "second_factor_missing"
    # It stays over, also where the requirement is withdrawn.
    await replace(auth, owner, mfa_required=False)
    assert (await auth.refresh(bob)).json()["code"] == "invalid_refresh_token"
    assert (await auth.me(bob["access_token"])).status_code == 401
    [row] = [one for one in await auth.audited("session_ended") if one["subject"] == bob["user_id"]]
    assert '"mfa_required"' in row["detail"]
    assert (await auth.sign_in("bob@example.com")).status_code == 200


async def test_a_session_goes_on_when_its_owner_proves_a_second_factor_in_it(auth, owner):
    bob = await auth.joined(owner, "bob@example.com", "member")
    await replace(auth, owner, mfa_required=True)
    app = await enrol(auth, bob)
    assert (await auth.refresh(await step_up(auth, app, bob))).status_code == 200


async def test_asks_for_a_factor_of_ones_own_first(auth):
    bundle = await auth.somebody()
    answer = await replace(auth, bundle, mfa_required=True)
    assert (answer.status_code, answer.json()["code"]) == (409, "own_second_factor_missing")
    assert (await auth.ask("GET", PATH, bundle)).json()["mfa_required"] is False
    assert (await auth.refresh(bundle)).status_code == 200


async def test_asks_for_a_fresh_proof_of_both_factors(auth):
    bundle = await auth.somebody()
    app = await enrol(auth, bundle)
    answer = await replace(auth, bundle, mfa_required=True)
    assert (answer.status_code, answer.json()["code"]) == (401, "insufficient_user_authentication")
    proved = await step_up(auth, app, bundle)
    await auth.database.execute("update sessions set authenticated_at = now() - interval '16 minutes'")
    answer = await replace(auth, proved, mfa_required=True)
    assert (answer.status_code, answer.json()["code"]) == (401, "insufficient_user_authentication")


@pytest.mark.parametrize("role", ["viewer", "member"])
async def test_is_for_who_is_owner_or_admin_now(auth, owner, role):
    bob = await auth.joined(owner, "bob@example.com", "admin")
    proved = await step_up(auth, await enrol(auth, bob), bob)
    await auth.role("bob@example.com", role)
    answer = await replace(auth, proved, mfa_required=True)
    assert (answer.status_code, answer.json()["code"]) == (403, "role_too_low")
    await auth.role("bob@example.com", "admin")
    assert (await replace(auth, proved, mfa_required=True)).status_code == 200


async def test_is_not_for_machines_and_leaves_api_keys_alone(auth, owner):
    scopes = ["tenant:manage", "tenant:read"]
    made = await auth.post("api-keys", owner["access_token"], name="ci", scopes=scopes)
    assert made.status_code == 201, made.text
    key = {"access_token": made.json()["key"]}
    answer = await auth.ask("PUT", PATH, key, {"mfa_required": True}, **{"If-Match": "*"})
    assert (answer.status_code, answer.json()["code"]) == (403, "people_only")
    await replace(auth, owner, mfa_required=True)
    assert (await auth.ask("GET", "tenants/current/members", key)).status_code == 200


async def test_is_audited_and_every_member_is_notified(auth, owner):
    await auth.joined(owner, "bob@example.com", "member")
    await auth.joined(owner, "eve@example.com", "admin")
    await auth.somebody("stranger@example.com")
    await replace(auth, owner, mfa_required=True)
    # Said again, it changes nothing.
    await replace(auth, owner, mfa_required=True)
    mails = await auth.mails("mfa_required")
    assert sorted(mail["email"] for mail in mails) == [
        "ann@example.com",
        "bob@example.com",
        "eve@example.com",
    ]
    assert {mail["facts"]["tenant_name"] for mail in mails} == {"Ann's Bakery"}
    await replace(auth, owner, mfa_required=False)
    mails = await auth.mails("mfa_optional")
    assert sorted(mail["email"] for mail in mails) == ["ann@example.com", "eve@example.com"]
    rows = await auth.audited("tenant_mfa_changed")
    assert [(row["actor"], row["detail"]) for row in rows] == [
        (owner["user_id"], '{"required": true}'),
        (owner["user_id"], '{"required": false}'),
    ]


async def test_stays_on_when_a_client_that_does_not_know_it_replaces_the_rest(auth, owner):
    await replace(auth, owner, mfa_required=True)
    answer = await replace(auth, owner, default_locale="de")
    assert (answer.json()["default_locale"], answer.json()["mfa_required"]) == ("de", True)


async def test_nobody_removes_their_only_factor_while_a_tenant_requires_one(auth, owner):
    await replace(auth, owner, mfa_required=True)
    answer = await delete(auth, "factors/totp", owner)
    assert (answer.status_code, answer.json()["code"]) == (409, "last_factor_required")
    assert "totp" in (await challenged(auth))["factors"]
    await replace(auth, owner, mfa_required=False)
    assert (await delete(auth, "factors/totp", owner)).status_code == 204


async def test_a_recovery_code_counts_as_the_second_factor(auth):
    bundle = await auth.somebody()
    app = await enrol(auth, bundle)
    await replace(auth, await step_up(auth, app, bundle), mfa_required=True)
    entered = await answered(auth, (await challenged(auth))["challenge"], recovery_code=app.codes[0])
    assert (await auth.refresh(entered.json())).status_code == 200
