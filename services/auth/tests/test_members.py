import asyncio
from uuid import UUID

import pytest

from .conftest import SESSION_OVER

MEMBERS = "tenants/current/members"


def code(answer):
    return answer.status_code, answer.json()["code"]


def id_of(bundle):
    return bundle["user_id"].removeprefix("user:")


def path_of(bundle):
    return f"{MEMBERS}/{id_of(bundle)}"


async def roles(auth, bundle):
    items = (await auth.ask("GET", MEMBERS, bundle)).json()["items"]
    return {one["email"]: one["role"] for one in items}


async def change(auth, caller, target, role):
    return await auth.ask("PATCH", path_of(target), caller, {"role": role})


async def owners(auth, bundle):
    return await auth.database.fetchval(
        "select count(*) from memberships where role = 'owner' and tenant_id = $1", UUID(bundle["tenant_id"])
    )


async def test_lists_members_page_by_page_with_what_they_are(auth):
    owner = await auth.somebody(display_name="Ann")
    for n in range(3):
        await auth.joined(owner, f"p{n}@example.com", "viewer")
    viewer = await auth.session("p1@example.com")
    first = (await auth.ask("GET", f"{MEMBERS}?limit=3", viewer)).json()
    assert first["items"][0] == {
        "user_id": owner["user_id"],
        "display_name": "Ann",
        "email": "ann@example.com",
        "role": "owner",
        "joined_at": first["items"][0]["joined_at"],
    }
    last = (await auth.ask("GET", f"{MEMBERS}?limit=3&cursor={first['next_cursor']}", viewer)).json()
    assert last["next_cursor"] is None
    emails = [one["email"] for one in first["items"] + last["items"]]
    assert emails == ["ann@example.com", *(f"p{n}@example.com" for n in range(3))]


async def test_a_role_change_shows_at_the_next_refresh_and_is_published(auth):
    owner = await auth.somebody()
    member = await auth.joined(owner, "bob@example.com", "member")
    answer = await change(auth, owner, member, "viewer")
    assert (answer.status_code, answer.json()["role"]) == (200, "viewer")
    after = auth.claims((await auth.refresh(member)).json())
    assert after["role"] == "viewer"
    assert "members:manage" not in after["scope"]
    [mail] = await auth.mails("role_changed")
    assert (mail["email"], mail["facts"]) == (
        "bob@example.com",
        {"tenant_name": "Ann's Bakery", "role": "viewer"},
    )
    [row] = await auth.audited("authz_change")
    assert (row["actor"], row["subject"]) == (owner["user_id"], member["user_id"])
    assert "bob" not in row["detail"]


async def test_what_a_role_was_a_moment_ago_opens_no_sensitive_route(auth):
    owner = await auth.somebody()
    admin = await auth.joined(owner, "admin@example.com", "admin")
    member = await auth.joined(owner, "bob@example.com", "member")
    await change(auth, owner, admin, "member")
    # The access token still says admin.
    assert auth.claims(admin)["role"] == "admin"
    for answer in (
        await change(auth, admin, member, "viewer"),
        await auth.ask("DELETE", path_of(member), admin),
        await auth.ask("POST", "tenants/current/invites", admin, {"role": "member"}),
        await auth.ask("PATCH", "tenants/current", admin, {"name": "Mine"}),
    ):
        assert code(answer) == (403, "role_too_low")


@pytest.mark.parametrize("granted", ["billing:manage", "members:manage"])
async def test_no_permission_makes_an_admin_an_owner(auth, granted):
    owner = await auth.somebody()
    admin = await auth.joined(owner, "admin@example.com", "admin")
    assert granted in auth.claims(admin)["scope"]
    assert code(await change(auth, admin, admin, "owner")) == (403, "role_too_low")
    assert code(await change(auth, admin, owner, "viewer")) == (403, "role_too_low")
    assert code(await auth.ask("DELETE", path_of(owner), admin)) == (403, "role_too_low")
    transfer = {"user_id": id_of(admin)}
    answer = await auth.ask("POST", "tenants/current/transfer-ownership", admin, transfer)
    assert code(answer) == (403, "role_too_low")
    invite = {"email": "eve@example.com", "role": "owner"}
    assert code(await auth.ask("POST", "tenants/current/invites", admin, invite)) == (403, "role_too_low")
    assert (await roles(auth, owner))["admin@example.com"] == "admin"


async def test_an_owner_narrowed_to_admin_is_no_owner(auth):
    owner = await auth.somebody()
    member = await auth.joined(owner, "bob@example.com", "member")
    answer = await auth.ask("PATCH", path_of(member), owner, {"role": "owner"}, **{"X-Tenant-Role": "admin"})
    assert code(answer) == (403, "role_too_low")


@pytest.mark.parametrize("role", ["member", "viewer"])
async def test_members_manage_nobody(auth, role):
    owner = await auth.somebody()
    low = await auth.joined(owner, "low@example.com", role)
    assert code(await change(auth, low, low, "admin")) == (403, "forbidden")
    assert code(await auth.ask("DELETE", path_of(owner), low)) == (403, "forbidden")


async def test_the_last_owner_stays(auth):
    owner = await auth.somebody()
    await auth.joined(owner, "bob@example.com", "admin")
    assert code(await change(auth, owner, owner, "admin")) == (409, "last_owner")
    assert code(await auth.ask("POST", "tenants/current/leave", owner)) == (409, "last_owner")
    assert code(await auth.ask("DELETE", path_of(owner), owner)) == (409, "last_owner")


async def test_an_owner_who_cannot_come_in_is_not_one_to_be_left_with(auth):
    owner = await auth.somebody()
    await auth.joined(owner, "bob@example.com", "owner")
    await auth.database.execute("update users set status = 'disabled' where email_key = 'bob@example.com'")
    assert code(await auth.ask("POST", "tenants/current/leave", owner)) == (409, "last_owner")


async def test_twenty_owners_who_step_down_at_once_leave_one(auth):
    first = await auth.somebody()
    people = [first, *[await auth.joined(first, f"p{n}@example.com", "owner") for n in range(4)]]
    steps = [
        request
        for one in people
        for request in (
            change(auth, one, one, "member"),
            auth.ask("POST", "tenants/current/leave", one),
            auth.ask("DELETE", path_of(one), one),
            change(auth, one, people[0], "viewer"),
        )
    ]
    answers = await asyncio.gather(*steps)
    assert len(answers) == 20
    assert {answer.status_code for answer in answers} <= {200, 204, 401, 403, 404, 409}
    assert await owners(auth, first) == 1


async def test_twenty_demotions_by_each_other_leave_an_owner(auth):
    first = await auth.somebody()
    second = await auth.joined(first, "bob@example.com", "owner")
    pairs = [(first, second), (second, first)] * 10
    answers = await asyncio.gather(*(change(auth, one, other, "admin") for one, other in pairs))
    assert sum(answer.status_code == 200 for answer in answers) >= 1
    assert await owners(auth, first) == 1


async def test_removal_ends_the_sessions_in_this_tenant_alone(auth):
    owner = await auth.somebody()
    bob = await auth.joined(owner, "bob@example.com", "member")
    phone = await auth.session("bob@example.com")
    own = (await auth.ask("POST", "tenants", bob, {"name": "Bob's"})).json()
    elsewhere = (await auth.sign_in("bob@example.com", tenant_id=own["id"])).json()
    assert (await auth.ask("DELETE", path_of(bob), owner)).status_code == 204
    for bundle in (bob, phone):
        assert code(await auth.refresh(bundle)) == (401, "invalid_refresh_token")
        assert code(await auth.ask("GET", "tenants/current", bundle)) in SESSION_OVER
    assert (await auth.refresh(elsewhere)).status_code == 200
    assert code(await auth.sign_in("bob@example.com", tenant_id=owner["tenant_id"])) == (
        401,
        "invalid_credentials",
    )
    assert (await auth.session("bob@example.com"))["tenant_id"] == own["id"]
    [mail] = await auth.mails("member_removed")
    assert (mail["email"], mail["facts"]) == ("bob@example.com", {"tenant_name": "Ann's Bakery"})
    ended = "select count(*) from sessions where end_reason = 'membership'"
    assert await auth.database.fetchval(ended) == 2
    assert len(await auth.audited("member_removed")) == 1


async def test_who_was_removed_from_their_only_tenant_can_be_invited_back(auth):
    owner = await auth.somebody()
    bob = await auth.joined(owner, "bob@example.com", "member")
    await auth.ask("DELETE", path_of(bob), owner)
    alone = await auth.session("bob@example.com")
    assert alone["tenant_id"] != owner["tenant_id"]
    await auth.ask("POST", "tenants/current/invites", owner, {"email": "bob@example.com", "role": "viewer"})
    token = (await auth.mails("invitation"))[-1]["token"]
    joined = await auth.ask("POST", "invites/accept", alone, {"token": token})
    assert (joined.status_code, joined.json()["role"]) == (200, "viewer")
    switched = await auth.ask("POST", f"tenants/{owner['tenant_id']}/switch", alone)
    assert auth.claims(switched.json())["role"] == "viewer"


async def test_a_member_leaves(auth):
    owner = await auth.somebody()
    bob = await auth.joined(owner, "bob@example.com", "viewer")
    assert (await auth.ask("POST", "tenants/current/leave", bob)).status_code == 204
    assert await roles(auth, owner) == {"ann@example.com": "owner"}
    assert code(await auth.refresh(bob)) == (401, "invalid_refresh_token")
    assert code(await auth.ask("POST", "tenants/current/leave", bob)) in SESSION_OVER


async def test_ownership_goes_over_to_another(auth):
    owner = await auth.somebody()
    bob = await auth.joined(owner, "bob@example.com", "viewer")
    path = "tenants/current/transfer-ownership"
    assert (await auth.ask("POST", path, owner, {"user_id": id_of(bob)})).status_code == 204
    assert await roles(auth, owner) == {"ann@example.com": "admin", "bob@example.com": "owner"}
    assert auth.claims((await auth.refresh(bob)).json())["role"] == "owner"
    mails = await auth.mails("ownership_transferred")
    assert {mail["email"] for mail in mails} == {"ann@example.com", "bob@example.com"}
    assert len(await auth.audited("authz_change")) == 2
    assert code(await auth.ask("POST", path, owner, {"user_id": id_of(owner)})) == (403, "role_too_low")


async def test_ownership_goes_to_nobody_who_cannot_take_it(auth):
    owner = await auth.somebody()
    bob = await auth.joined(owner, "bob@example.com", "viewer")
    path = "tenants/current/transfer-ownership"
    await auth.database.execute("update users set status = 'disabled' where email_key = 'bob@example.com'")
    for user_id in (id_of(bob), "00000000-0000-4000-8000-000000000000"):
        assert code(await auth.ask("POST", path, owner, {"user_id": user_id})) == (404, "member_not_found")
    assert (await auth.ask("POST", path, owner, {"user_id": id_of(owner)})).status_code == 204
    assert await owners(auth, owner) == 1


async def test_no_route_sets_the_password_of_a_member(auth):
    owner = await auth.somebody()
    bob = await auth.joined(owner, "bob@example.com", "member")
    answer = await auth.ask(
        "PATCH", path_of(bob), owner, {"role": "viewer", "password": "mine mine mine mine"}
    )
    assert code(answer) == (422, "invalid_request")
    assert (await auth.sign_in("bob@example.com")).status_code == 200


@pytest.mark.parametrize("role", ["root", "", None, "OWNER"])
async def test_refuses_what_is_no_role(auth, role):
    owner = await auth.somebody()
    assert code(await change(auth, owner, owner, role)) == (422, "invalid_request")


async def test_machines_have_no_part_in_this(auth):
    owner = await auth.somebody()
    parts = auth.app.state.services
    token = await parts.access_tokens.for_service("chat-agent", parts.settings.auth_audience, ["tenant:read"])
    machine = {"access_token": token.token}
    # Also with a tenant in a header: it comes from the token, or there is none.
    for headers in ({}, {"X-Tenant-Id": owner["tenant_id"], "X-Tenant-Role": "owner"}):
        for path in ("tenants", "tenants/current", MEMBERS):
            assert code(await auth.ask("GET", path, machine, **headers)) == (403, "forbidden")


async def service(auth, scope="members:read"):
    answer = await auth.machine(audience="auth", scope=scope)
    assert answer.status_code == 200, answer.text
    return answer.json()["access_token"]


async def belonging(auth, tenant_id, subject, acting_for=None):
    headers = {
        "Authorization": f"Bearer {await service(auth)}",
        "Acme-On-Behalf-Of": acting_for or f"{tenant_id}/{subject}",
    }
    return await auth.internal.get(f"/internal/v1/tenants/{tenant_id}/members/{subject}", headers=headers)


async def test_a_service_learns_what_the_one_it_acts_for_is_now(auth):
    owner = await auth.somebody()
    bob = await auth.joined(owner, "bob@example.com", "member")
    tenant_id = owner["tenant_id"]
    known = {
        "subject": bob["user_id"],
        "tenant_id": tenant_id,
        "role": "member",
        "tenant_status": "active",
        "user_status": "active",
    }
    answer = await belonging(auth, tenant_id, bob["user_id"])
    assert (answer.status_code, answer.json()) == (200, known)
    await auth.ask("POST", "tenants/current/suspend", owner)
    answer = await belonging(auth, tenant_id, bob["user_id"])
    assert answer.json() == {**known, "tenant_status": "suspended"}
    await auth.database.execute("update tenants set status = 'deleted'")
    assert code(await belonging(auth, tenant_id, bob["user_id"])) == (404, "member_not_found")


async def owners_of(auth, tenant_id, scopes=("owners:read",)):
    token = await auth.app.state.services.access_tokens.for_service("notification", "auth", scopes)
    headers = {"Authorization": f"Bearer {token.token}"}
    return await auth.internal.get(f"/internal/v1/tenants/{tenant_id}/owners", headers=headers)


async def test_the_service_that_sends_email_learns_where_owners_get_it(auth):
    owner = await auth.somebody()
    await auth.joined(owner, "bob@example.com", "admin")
    tenant_id = owner["tenant_id"]
    answer = await owners_of(auth, tenant_id)
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    [one] = answer.json()["owners"]
    assert (one["user_id"], one["email"]) == (owner["user_id"], "ann@example.com")
    assert code(await owners_of(auth, tenant_id, ["members:read"])) == (403, "insufficient_scope")
    await auth.ask("POST", "tenants/current/suspend", owner)
    assert (await owners_of(auth, tenant_id)).status_code == 200
    await auth.database.execute("update users set status = 'disabled' where email = 'ann@example.com'")
    assert (await owners_of(auth, tenant_id)).json()["owners"] == []
    await auth.database.execute("update tenants set status = 'deleted'")
    assert code(await owners_of(auth, tenant_id)) == (404, "tenant_not_found")


async def test_a_service_learns_nothing_of_whom_it_does_not_act_for(auth):
    owner = await auth.somebody()
    eve = await auth.somebody("eve@example.com")
    tenant_id = owner["tenant_id"]
    for subject in (eve["user_id"], "service:chat-agent", "user:x"):
        assert code(await belonging(auth, tenant_id, subject, f"{tenant_id}/{owner['user_id']}")) == (
            404,
            "member_not_found",
        )
    acting_elsewhere = f"{eve['tenant_id']}/{eve['user_id']}"
    assert code(await belonging(auth, tenant_id, owner["user_id"], acting_elsewhere)) == (
        404,
        "member_not_found",
    )


async def test_only_a_service_with_the_scope_asks(auth):
    owner = await auth.somebody()
    path = f"/internal/v1/tenants/{owner['tenant_id']}/members/{owner['user_id']}"
    for token in (owner["access_token"], (await auth.machine()).json()["access_token"]):
        headers = {
            "Authorization": f"Bearer {token}",
            "Acme-On-Behalf-Of": f"{owner['tenant_id']}/{owner['user_id']}",
        }
        assert (await auth.internal.get(path, headers=headers)).status_code in {401, 403}
        assert (await auth.public.get(path, headers=headers)).status_code == 404


async def test_an_admin_has_a_members_password_reset_and_sets_none(auth):
    owner = await auth.somebody()
    admin = await auth.joined(owner, "adam@example.com", "admin")
    bob = await auth.joined(owner, "bob@example.com", "member")
    answer = await auth.ask("POST", f"tenants/current/members/{bob['user_id'][5:]}/password-reset", admin)
    assert answer.status_code == 202
    [mail] = await auth.mails("password_reset")
    assert mail["recipient"] == bob["user_id"]
    [audit_event] = await auth.audited("authn_password_reset_requested")
    assert (audit_event["actor"], audit_event["subject"]) == (admin["user_id"], bob["user_id"])
    # Nothing has changed before bob does something with it.
    assert (await auth.sign_in("bob@example.com")).status_code == 200
    reset = await auth.post("password/reset", token=mail["token"], password="words of bob alone")
    assert reset.status_code == 204
    assert (await auth.sign_in("bob@example.com", "words of bob alone")).status_code == 200


@pytest.mark.parametrize(("method", "what"), [("POST", "password-reset"), ("DELETE", "sessions")])
async def test_nobody_governs_those_above_them(auth, method, what):
    owner = await auth.somebody()
    admin = await auth.joined(owner, "adam@example.com", "admin")
    member = await auth.joined(owner, "bob@example.com", "member")
    above = await auth.ask(method, f"tenants/current/members/{owner['user_id'][5:]}/{what}", admin)
    assert code(above) == (403, "role_too_low")
    beside = await auth.ask(method, f"tenants/current/members/{admin['user_id'][5:]}/{what}", member)
    assert beside.status_code == 403
    assert await auth.mails("password_reset") == []


async def test_an_admin_signs_a_member_out_of_this_tenant_alone(auth):
    owner = await auth.somebody()
    bob = await auth.joined(owner, "bob@example.com", "member")
    other = (await auth.ask("POST", "tenants", bob, {"name": "Bob's own"})).json()
    bob = await auth.session("bob@example.com")
    elsewhere = (await auth.ask("POST", f"tenants/{other['id']}/switch", bob)).json()
    here = await auth.session("bob@example.com")
    answer = await auth.ask("DELETE", f"tenants/current/members/{bob['user_id'][5:]}/sessions", owner)
    assert answer.status_code == 204
    assert (await auth.refresh(here)).status_code == 401
    assert (await auth.refresh(elsewhere)).status_code == 200
