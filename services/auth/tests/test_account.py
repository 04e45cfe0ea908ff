"""One's own account: a name, an export, and leaving for good."""

import asyncio
import json
import logging

import pytest
from auth.models import Base

from .authenticator import Authenticator
from .conftest import SESSION_OVER
from .factor_helpers import answered, challenged, enrol, register


def signed_in(bundle):
    return {"Authorization": f"Bearer {bundle['access_token']}"}


async def rename(auth, bundle, name):
    return await auth.public.patch("/api/v1/auth/me", json={"display_name": name}, headers=signed_in(bundle))


async def export(auth, bundle):
    return await auth.public.get("/api/v1/auth/account/export", headers=signed_in(bundle))


async def leave(auth, bundle, password=None):
    return await auth.post("account/delete", bundle["access_token"], password=password or auth.password)


async def join(auth, bundle, tenant_id, role):
    """Make somebody a member of another tenant, as an invitation does."""
    await auth.database.execute(
        "insert into memberships (tenant_id, user_id, role) values ($1, $2, $3)",
        tenant_id,
        bundle["user_id"].removeprefix("user:"),
        role,
    )


async def left_events(auth):
    return [
        json.loads(event["data"]) for event in await auth.events() if event["type"] == "auth.user.deleted.v1"
    ]


@pytest.mark.parametrize("name", ["Ann of Acme", "Änne", None])
async def test_one_may_have_another_name_or_none(auth, name):
    bundle = await auth.somebody(display_name="Ann")
    answer = await rename(auth, bundle, name)
    assert answer.status_code == 200
    assert answer.json() == (await auth.me(bundle["access_token"])).json()
    assert answer.json()["display_name"] == name
    [event] = await auth.audited("user_updated")
    assert (event["actor"], event["detail"]) == (bundle["user_id"], "{}")


@pytest.mark.parametrize("name", ["", " ", "x" * 129, "Ann\nBob", 7])
async def test_refuses_what_is_no_name(auth, name):
    bundle = await auth.somebody(display_name="Ann")
    assert (await rename(auth, bundle, name)).status_code == 422
    assert (await auth.me(bundle["access_token"])).json()["display_name"] == "Ann"


async def test_changes_nothing_else_of_an_account(auth):
    bundle = await auth.somebody()
    answer = await auth.public.patch(
        "/api/v1/auth/me", json={"display_name": "Ann", "email": "eve@example.com"}, headers=signed_in(bundle)
    )
    assert answer.status_code == 422


async def test_others_keep_their_names(auth):
    bob = await auth.somebody("bob@example.com", display_name="Bob")
    await rename(auth, await auth.somebody(), "Ann")
    assert (await auth.me(bob["access_token"])).json()["display_name"] == "Bob"


@pytest.mark.parametrize("way", [lambda a, b: rename(a, b, "Ann"), export, leave])
async def test_needs_a_session_that_goes_on(auth, way):
    bundle = await auth.somebody()
    await auth.post("logout", refresh_token=bundle["refresh_token"])
    answer = await way(auth, bundle)
    assert (answer.status_code, answer.json()["code"]) in SESSION_OVER


@pytest.mark.parametrize("way", [lambda a, b: rename(a, b, "Ann"), export, leave])
async def test_a_machine_has_no_account(auth, way):
    machine = await auth.app.state.services.access_tokens.for_service("chat-agent", "auth", ["tools:read"])
    assert (await way(auth, {"access_token": machine.token})).status_code == 403


async def test_exports_all_personal_data_and_no_secret(auth):
    bundle = await auth.somebody(display_name="Ann", accept_terms=True)
    await auth.somebody("bob@example.com")
    await auth.post("account/delete", bundle["access_token"], password="words that are wrong")
    answer = await export(auth, bundle)
    assert answer.status_code == 200
    assert answer.headers["content-disposition"] == 'attachment; filename="account.json"'
    assert answer.headers["cache-control"] == "no-store"
    held = answer.json()
    assert (
        held["profile"].items()
        >= {
            "user_id": bundle["user_id"],
            "email": "ann@example.com",
            "display_name": "Ann",
        }.items()
    )
    assert held["profile"]["terms_accepted_at"]
    [membership] = held["memberships"]
    assert (membership["tenant_id"], membership["role"]) == (bundle["tenant_id"], "owner")
    [session] = held["sessions"]
    assert session["id"] == bundle["session_id"]
    assert "authn_login_fail" in [event["action"] for event in held["audit_events"]]
    assert "bob@" not in answer.text
    for column in ("password_hash", "digest", "key"):
        assert f'"{column}"' not in answer.text
    assert "argon2" not in answer.text


async def test_exports_what_others_did_to_one_and_not_what_they_did_elsewhere(auth):
    bundle = await auth.somebody()
    insert = """
        insert into audit_events (id, action, actor, subject, detail)
        values (gen_random_uuid(), $1, $2, $3, '{}')
    """
    await auth.database.execute(insert, "to_me", "user:admin", bundle["user_id"])
    await auth.database.execute(insert, "by_me", bundle["user_id"], "user:other")
    await auth.database.execute(insert, "elsewhere", "user:admin", "user:other")
    events = (await export(auth, bundle)).json()["audit_events"]
    event_ids = {"by_me", "to_me", "elsewhere"}
    assert [event["action"] for event in events if event["action"] in event_ids] == ["by_me", "to_me"]


async def test_who_leaves_is_gone_at_once(auth):
    bundle = await auth.somebody(display_name="Ann Canary")
    answer = await leave(auth, bundle)
    assert (answer.status_code, answer.content) == (204, b"")
    assert (await auth.refresh(bundle)).status_code == 401
    assert (await auth.me(bundle["access_token"])).status_code == 401
    assert (await auth.sign_in()).status_code == 401
    left = await auth.database.fetchrow("""
        select (select count(*) from users), (select count(*) from memberships),
            (select count(*) from tenants), (select count(*) from sessions),
            (select count(*) from refresh_tokens), (select count(*) from email_tokens)
    """)
    assert set(left) == {0}


async def test_the_audit_log_keeps_the_opaque_id_alone(auth):
    bundle = await auth.somebody(display_name="Ann Canary")
    await leave(auth, bundle)
    [event] = await auth.audited("user_deleted")
    assert event["actor"] == bundle["user_id"]
    rows = str([tuple(row) for row in await auth.database.fetch("select * from audit_events")])
    assert "ann@" not in rows
    assert "Canary" not in rows


async def test_other_owners_are_notified_and_so_is_who_left(auth):
    bundle = await auth.somebody()
    await leave(auth, bundle)
    assert await left_events(auth) == [{"user_id": bundle["user_id"], "tenant_ids": [bundle["tenant_id"]]}]
    [mail] = await auth.mails("account_deleted")
    assert (mail["recipient"], mail["email"]) == (bundle["user_id"], "ann@example.com")


async def test_the_address_is_free_again_and_who_comes_back_is_somebody_else(auth):
    before = await auth.somebody()
    await leave(auth, before)
    after = await auth.somebody()
    assert after["user_id"] != before["user_id"]
    assert (await auth.refresh(before)).status_code == 401


async def test_needs_the_password_and_counts_like_signing_in(start):
    auth = await start(auth_rate_limits={"subject:token": 3})
    bundle = await auth.somebody()
    answers = [await leave(auth, bundle, f"wrong words number {n}") for n in range(3)]
    assert [answer.json()["code"] for answer in answers] == ["invalid_password"] * 2 + ["rate_limited"]
    assert (await auth.me(bundle["access_token"])).status_code == 200


async def test_nobody_leaves_a_tenant_without_an_owner(auth):
    ann = await auth.somebody()
    bob = await auth.somebody("bob@example.com")
    await join(auth, bob, ann["tenant_id"], "admin")
    answer = await leave(auth, ann)
    assert (answer.status_code, answer.json()["code"]) == (409, "sole_owner")
    assert answer.json()["tenant_ids"] == [ann["tenant_id"]]
    assert (await auth.me(ann["access_token"])).status_code == 200
    assert await left_events(auth) == []
    await auth.database.execute(
        "update memberships set role = 'owner' where tenant_id = $1", ann["tenant_id"]
    )
    assert (await leave(auth, ann)).status_code == 204
    assert await left_events(auth) == [{"user_id": ann["user_id"], "tenant_ids": []}]


async def test_who_owns_nothing_of_others_leaves_their_tenants_as_they_are(auth):
    ann = await auth.somebody()
    bob = await auth.somebody("bob@example.com")
    await join(auth, bob, ann["tenant_id"], "member")
    assert (await leave(auth, bob)).status_code == 204
    assert await left_events(auth) == [{"user_id": bob["user_id"], "tenant_ids": [bob["tenant_id"]]}]
    assert (await auth.refresh(ann)).status_code == 200
    assert await auth.database.fetchval("select count(*) from memberships") == 1


async def test_of_the_last_two_owners_who_leave_at_once_one_stays(auth):
    ann, bob, eve = [await auth.somebody(f"{name}@example.com") for name in ("ann", "bob", "eve")]
    await join(auth, bob, ann["tenant_id"], "owner")
    await join(auth, eve, ann["tenant_id"], "member")
    answers = await asyncio.gather(leave(auth, ann), leave(auth, bob))
    assert sorted(answer.status_code for answer in answers) == [204, 409]
    owners = "select count(*) from memberships where tenant_id = $1 and role = 'owner'"
    assert await auth.database.fetchval(owners, ann["tenant_id"]) == 1


async def test_who_leaves_while_their_clients_refresh_is_gone_all_the_same(auth):
    people = [await auth.somebody(f"person{n}@example.com") for n in range(5)]
    ways = [*(leave(auth, one) for one in people), *(auth.refresh(one) for one in people * 5)]
    answers = [answer.status_code for answer in await asyncio.gather(*ways)]
    assert answers[:5] == [204] * 5
    assert set(answers[5:]) <= {200, 401}
    assert await auth.database.fetchval("select count(*) from refresh_tokens") == 0


async def test_leaving_twenty_times_at_once_is_leaving_once(auth):
    bundle = await auth.somebody()
    answers = await asyncio.gather(*(leave(auth, bundle) for _ in range(20)))
    # Who has waited too long for the others to be judged is told to come again.
    assert {answer.status_code for answer in answers} <= {204, 401, 429}
    assert [answer.status_code for answer in answers].count(204) == 1
    assert len(await left_events(auth)) == 1


async def test_writes_no_secret_and_no_address_into_its_logs(start, capsys):
    auth = await start(logging_sink="stdout", log_level="DEBUG")
    bundle = await auth.somebody(display_name="Ann Canary")
    new, newer = "an entirely new phrase", "and then yet another one"
    await auth.post("password/forgot", email="ann@example.com")
    [reset] = await auth.mails("password_reset")
    await auth.post("password/reset", token=reset["token"], password="short")
    await auth.post("password/reset", token=reset["token"], password=new)
    await auth.post("password/reset", token=reset["token"], password=new)
    bundle = await auth.session(password=new)
    await auth.post("password/change", bundle["access_token"], current_password=new, new_password=newer)
    await auth.post(
        "email/change", bundle["access_token"], new_email="canary@elsewhere.example", password=newer
    )
    [change] = await auth.mails("email_change")
    await auth.post("email/change/confirm", token=change["token"])
    bundle = await auth.session("canary@elsewhere.example", newer)
    await export(auth, bundle)
    await leave(auth, bundle, newer)
    for handler in logging.getLogger().handlers:
        handler.flush()
    written = capsys.readouterr().out
    assert "/api/v1/auth/account/delete" in written
    tokens = [mail["token"].partition(".")[2] for mail in (reset, change)]
    hidden = (*tokens, new, newer, "example.com", "elsewhere", "canary", "Canary", "argon2")
    assert [word for word in hidden if word in written] == []


async def test_exports_factors_devices_keys_and_invites_and_no_secret_of_them(auth):
    bundle = await auth.somebody(display_name="Ann")
    app = await enrol(auth, bundle)
    challenge = (await challenged(auth, device=bundle["device"]))["challenge"]
    bundle = (await answered(auth, challenge, code=app.code, device=bundle["device"])).json()
    assert (await register(auth, bundle, Authenticator())).status_code == 201
    made = await auth.ask("POST", "api-keys", bundle, {"name": "build", "scopes": ["conversations:read"]})
    await auth.ask("POST", "tenants/current/invites", bundle, {"email": "bob@example.com", "role": "member"})
    await auth.database.execute(
        "insert into passwords_before (id, user_id, password_hash) values (gen_random_uuid(), $1, 'argon2')",
        bundle["user_id"].removeprefix("user:"),
    )
    answer = await export(auth, bundle)
    held = answer.json()
    assert held["factors"]["totp"]["confirmed_at"]
    [passkey] = held["factors"]["passkeys"]
    assert set(passkey) == {"id", "name", "created_at", "last_used_at"}
    assert (held["factors"]["recovery_codes_made"], held["factors"]["recovery_codes_used"]) == (10, 0)
    [key] = held["api_keys"]
    assert (key["name"], key["prefix"]) == ("build", made.json()["prefix"])
    assert key["tenant_id"] == bundle["tenant_id"]
    [invite] = held["invites_sent"]
    assert (invite["email"], invite["role"]) == ("bob@example.com", "member")
    [device] = held["devices"]
    first, second = held["sessions"]
    assert (device["id"], device["name"]) == (first["device_id"], first["device"])
    assert (device["id"], device["last_seen_at"]) == (second["device_id"], second["last_seen_at"])
    assert first["address"]
    assert len(held["passwords_replaced_at"]) == 1
    secrets = (app.totp.secret, *app.codes, made.json()["key"], bundle["device"], bundle["refresh_token"])
    assert [secret for secret in secrets if secret in answer.text] == []
    for column in ("public_key", "credential_id", "sealed_seed", "password_hash", "digest", "origin"):
        assert f'"{column}"' not in answer.text


async def test_exports_what_others_wrote_down_under_ones_address(auth):
    ann = await auth.somebody()
    bob = await auth.joined(ann, "bob@example.com", "member")
    held = (await export(auth, bob)).json()
    [invite] = held["invites_received"]
    assert (invite["tenant_id"], invite["role"]) == (ann["tenant_id"], "member")
    assert held["invites_sent"] == []
    assert "ann@" not in str(held)


async def test_every_table_that_knows_people_is_exported_or_left_out_for_a_reason(auth):
    exported = {
        "users",
        "memberships",
        "sessions",
        "totp_factors",
        "passkeys",
        "recovery_codes",
        "api_keys",
        "invites",
        "signup_requests",
        "passwords_before",
        "audit_events",
    }
    # Of the moment, and nothing but digests: a challenge, a token of a mail, how often a code was wrong.
    of_the_moment = {"challenges", "email_tokens", "factor_attempts", "refresh_tokens"}
    of_nobody = {"tenants", "service_credentials", "revocations", "inbox", "outbox", "signing_key_rings"}
    assert exported | of_the_moment | of_nobody == set(Base.metadata.tables)
