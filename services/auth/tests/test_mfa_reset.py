import asyncio
import json

import pytest

from .authenticator import Authenticator
from .factor_helpers import answered, challenged, enrol, listed, register

NEW = "words of bob alone again"


def code(answer):
    return answer.status_code, answer.json()["code"]


async def reset(auth, caller, target):
    path = f"tenants/current/members/{target['user_id'].removeprefix('user:')}/second-factor-reset"
    return await auth.ask("POST", path, caller)


async def joined(auth, owner, name, role):
    return await auth.joined(owner, f"{name}@example.com", role)


@pytest.fixture
async def team(auth):
    """An owner, an admin, and a member with an authenticator app, a passkey, and recovery codes."""
    owner = await auth.somebody()
    adam, bob = await joined(auth, owner, "adam", "admin"), await joined(auth, owner, "bob", "member")
    app = await enrol(auth, bob)
    stepped = (await auth.post("step-up", bob["access_token"], code=app.code)).json()
    await app.later()
    key = Authenticator()
    assert (await register(auth, stepped, key)).status_code == 201
    return owner, adam, stepped, app, key


async def factors_of(auth, bundle):
    """How many rows there are of somebody's factors."""
    return await auth.database.fetchval(
        """select (select count(*) from totp_factors where user_id = $1)
                + (select count(*) from passkeys where user_id = $1)
                + (select count(*) from recovery_codes where user_id = $1)
                + (select count(*) from challenges where user_id = $1)
                + (select count(*) from factor_attempts where user_id = $1)""",
        bundle["user_id"].removeprefix("user:"),
    )


async def test_removes_every_factor_and_signs_out_everywhere(auth, team):
    _, adam, bob, *_ = team
    other = await answered(auth, (await challenged(auth, "bob@example.com"))["challenge"], code=team[3].code)
    assert (await reset(auth, adam, bob)).status_code == 204
    assert await factors_of(auth, bob) == 0
    for session in (bob, other.json()):
        assert code(await auth.refresh(session)) == (401, "invalid_refresh_token")
        assert (await auth.me(session["access_token"])).status_code == 401
    assert (await auth.refresh(adam)).status_code == 200


async def test_is_audited_and_the_member_is_notified(auth, team):
    _, adam, bob, *_ = team
    await reset(auth, adam, bob)
    [event] = await auth.audited("authn_second_factors_reset")
    assert (event["actor"], event["subject"]) == (adam["user_id"], bob["user_id"])
    assert str(event["tenant_id"]) == adam["tenant_id"]
    assert json.loads(event["detail"]) == {"factors": ["totp", "passkey", "recovery_code"]}
    [mail] = await auth.mails("second_factors_reset")
    assert (mail["recipient"], mail["email"]) == (bob["user_id"], "bob@example.com")
    assert mail["facts"] == {"tenant_name": "Ann's Bakery"}


async def test_nobody_comes_in_before_the_mailbox_is_proved(auth, team):
    _, adam, bob, _, key = team
    begun = (await auth.post("passkeys/sign-in/options")).json()
    waiting = await challenged(auth, "bob@example.com")
    await reset(auth, adam, bob)
    # Neither with the password, nor with what was asked or made before.
    assert code(await auth.sign_in("bob@example.com")) == (401, "invalid_credentials")
    assert code(await answered(auth, waiting["challenge"], code="123456")) == (401, "invalid_challenge")
    signed = key.sign(begun["options"])
    passkey = await auth.post("passkeys/sign-in", challenge=begun["challenge"], passkey=signed)
    assert code(passkey) == (401, "invalid_factor")

    [mail] = await auth.mails("second_factors_reset")
    assert (await auth.post("password/reset", token=mail["token"], password=NEW)).status_code == 204
    assert code(await auth.sign_in("bob@example.com")) == (401, "invalid_credentials")
    after = await auth.session("bob@example.com", NEW)
    assert (await listed(auth, after)) == {"totp": None, "passkeys": [], "recovery_codes_left": 0}
    app = await enrol(auth, after)
    assert len(app.codes) == 10


async def test_where_two_factors_are_required_the_next_sign_in_sets_one_up(auth, team):
    _, adam, bob, *_ = team
    await reset(auth, adam, bob)
    await auth.database.execute("update tenants set mfa_required = true")
    [mail] = await auth.mails("second_factors_reset")
    await auth.post("password/reset", token=mail["token"], password=NEW)
    answer = await auth.sign_in("bob@example.com", NEW)
    assert code(answer) == (401, "second_factor_enrolment_required")


async def test_the_password_of_before_does_not_come_again(auth, team):
    _, adam, bob, *_ = team
    await reset(auth, adam, bob)
    [mail] = await auth.mails("second_factors_reset")
    answer = await auth.post("password/reset", token=mail["token"], password=auth.password)
    assert code(answer) == (422, "password_already_used")


async def test_a_late_reader_asks_for_another_link(auth, team):
    _, adam, bob, *_ = team
    await reset(auth, adam, bob)
    await auth.database.execute("update email_tokens set expires_at = now()")
    [late] = await auth.mails("second_factors_reset")
    assert code(await auth.post("password/reset", token=late["token"], password=NEW)) == (
        400,
        "invalid_email_token",
    )
    await auth.post("password/forgot", email="bob@example.com")
    [mail] = await auth.mails("password_reset")
    await auth.post("password/reset", token=mail["token"], password=NEW)
    assert (await auth.sign_in("bob@example.com", NEW)).status_code == 200


async def test_a_link_that_was_requested_before_is_void(auth, team):
    _, adam, bob, *_ = team
    await auth.post("password/forgot", email="bob@example.com")
    [before] = await auth.mails("password_reset")
    await reset(auth, adam, bob)
    answer = await auth.post("password/reset", token=before["token"], password=NEW)
    assert code(answer) == (400, "invalid_email_token")


async def test_needs_a_proof_of_the_administrator_that_is_new(auth, team):
    _, adam, bob, *_ = team
    await auth.database.execute("update sessions set authenticated_at = now() - interval '16 minutes'")
    assert code(await reset(auth, adam, bob)) == (401, "insufficient_user_authentication")
    assert await factors_of(auth, bob) > 0
    proved = (await auth.post("step-up", adam["access_token"], password=auth.password)).json()
    assert (await reset(auth, proved, bob)).status_code == 204


async def test_needs_the_second_factor_of_an_administrator_who_has_one(auth, team):
    _, adam, bob, *_ = team
    await enrol(auth, adam)
    assert code(await reset(auth, adam, bob)) == (401, "insufficient_user_authentication")


async def test_nobody_resets_their_own(auth, team):
    owner, adam, *_ = team
    for caller in (owner, adam):
        assert code(await reset(auth, caller, caller)) == (403, "own_factor_reset_not_allowed")


async def test_owners_alone_reset_those_of_admins_and_owners(auth, team):
    owner, adam, bob, *_ = team
    eve = await joined(auth, owner, "eve", "admin")
    assert code(await reset(auth, adam, eve)) == (403, "role_too_low")
    assert code(await reset(auth, adam, owner)) == (403, "role_too_low")
    assert code(await reset(auth, bob, eve)) == (403, "forbidden")
    assert (await reset(auth, owner, eve)).status_code == 204
    await auth.role("adam@example.com", "owner")
    assert (await reset(auth, owner, adam)).status_code == 204
    assert len(await auth.audited("authn_second_factors_reset")) == 2


async def test_an_admin_of_a_moment_ago_resets_nothing(auth, team):
    _, adam, bob, *_ = team
    await auth.role("adam@example.com", "member")
    assert code(await reset(auth, adam, bob)) == (403, "role_too_low")
    # Also one who has narrowed their own role.
    await auth.role("adam@example.com", "admin")
    path = f"tenants/current/members/{bob['user_id'][5:]}/second-factor-reset"
    answer = await auth.ask("POST", path, adam, **{"X-Tenant-Role": "member"})
    assert code(answer) == (403, "forbidden")
    assert await factors_of(auth, bob) > 0


@pytest.mark.parametrize("status", ["active", "suspended"])
@pytest.mark.parametrize("role", ["owner", "viewer"])
async def test_leaves_alone_who_belongs_to_another_tenant_too(auth, team, status, role):
    owner, _, bob, *_ = team
    await auth.ask("POST", "tenants", bob, {"name": "Bob's own"})
    await auth.database.execute(
        "update memberships set role = $1 where tenant_id in "
        "(select id from tenants where name = 'Bob''s own')",
        role,
    )
    await auth.database.execute("update tenants set status = $1 where name = 'Bob''s own'", status)
    assert code(await reset(auth, owner, bob)) == (409, "member_of_other_tenants")
    assert await factors_of(auth, bob) > 0
    assert (await auth.refresh(bob)).status_code == 200
    assert await auth.mails("second_factors_reset") == []


async def test_a_tenant_that_is_gone_is_no_other(auth, team):
    owner, _, bob, *_ = team
    await auth.ask("POST", "tenants", bob, {"name": "Bob's own"})
    await auth.database.execute("update tenants set status = 'deleted' where name = 'Bob''s own'")
    assert (await reset(auth, owner, bob)).status_code == 204


async def test_strangers_do_not_exist(auth, team):
    owner, *_ = team
    eve = await auth.somebody("eve@example.com")
    await enrol(auth, eve)
    unknown = {"user_id": "user:00000000-0000-4000-8000-000000000000"}
    answers = [await reset(auth, owner, one) for one in (eve, unknown)]
    assert [code(answer) for answer in answers] == [(404, "member_not_found")] * 2
    assert await factors_of(auth, eve) > 0


async def test_who_is_disabled_gets_no_letter(auth, team):
    owner, _, bob, *_ = team
    await auth.database.execute("update users set status = 'disabled' where email_key = 'bob@example.com'")
    assert code(await reset(auth, owner, bob)) == (404, "member_not_found")


async def test_joining_another_tenant_at_the_same_time_comes_before_or_after(auth, team):
    owner, _, bob, *_ = team
    eve = await auth.somebody("eve@example.com")
    await auth.ask("POST", "tenants/current/invites", eve, {"email": "bob@example.com", "role": "viewer"})
    token = (await auth.mails("invitation"))[-1]["token"]
    done, accepted = await asyncio.gather(
        reset(auth, owner, bob), auth.ask("POST", "invites/accept", bob, {"token": token})
    )
    # Whoever came second saw what the first had done; never a reset of somebody who was elsewhere by then.
    left = await factors_of(auth, bob)
    assert (done.status_code, left > 0) in {(204, False), (409, True)}
    assert accepted.status_code == 200 or done.status_code == 204


async def test_a_mailbox_gets_so_many_letters_and_no_more(start, auth, team):
    owner, _, bob, *_ = team
    careful = await start(password_reset_email_rate_limit_per_hour=2)
    answers = [await reset(careful, owner, bob) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [204, 204, 429]
    assert len(await auth.mails("second_factors_reset")) == 2
