import asyncio
from uuid import UUID

import pytest

INVITES = "tenants/current/invites"
INVALID = (400, "invalid_invite")


def code(answer):
    return answer.status_code, answer.json()["code"]


async def invite(auth, bundle, **fields):
    """Invite, and give the invite's id and its token, as its reader sees it."""
    answer = await auth.ask("POST", INVITES, bundle, {"role": "member", **fields})
    assert answer.status_code == 201, answer.text
    made = answer.json()
    return made["id"], made["token"] or (await auth.mails("invitation"))[-1]["token"]


async def accept(auth, bundle, token):
    return await auth.ask("POST", "invites/accept", bundle, {"token": token})


async def listed(auth, bundle):
    return (await auth.ask("GET", INVITES, bundle)).json()["items"]


async def used(auth, invite_id):
    return await auth.database.fetchval("select uses from invites where id = $1", UUID(invite_id))


async def test_who_is_invited_by_mail_joins(auth):
    owner = await auth.somebody(display_name="Ann")
    bob = await auth.somebody("bob@example.com")
    _, token = await invite(auth, owner, email="Bob@Example.com", role="admin")
    [mail] = await auth.mails("invitation")
    assert (mail["recipient"], mail["email"]) == (bob["user_id"], "bob@example.com")
    assert mail["facts"] == {"tenant_name": "Ann's Bakery", "role": "admin", "invited_by": "Ann"}
    answer = await accept(auth, bob, token)
    assert answer.json() == {
        "tenant_id": owner["tenant_id"],
        "tenant_name": "Ann's Bakery",
        "role": "admin",
    }
    switched = (await auth.ask("POST", f"tenants/{owner['tenant_id']}/switch", bob)).json()
    assert auth.claims(switched)["role"] == "admin"
    [one] = await listed(auth, owner)
    assert (one["email"], one["status"], one["uses"]) == ("Bob@example.com", "used", 1)
    assert one["invited_by"]["user_id"] == owner["user_id"]
    [row] = await auth.audited("invite_accepted")
    assert (row["actor"], str(row["tenant_id"])) == (bob["user_id"], owner["tenant_id"])


async def test_who_has_no_account_signs_up_with_the_mails_token_and_has_confirmed_by_it(auth):
    owner = await auth.somebody()
    await invite(auth, owner, email="new@example.com")
    [mail] = await auth.mails("invitation")
    assert mail["recipient"] == "mail:new@example.com"
    answer = await auth.register("new@example.com", invite=mail["token"])
    assert answer.status_code == 202
    bundle = await auth.session("new@example.com")
    assert bundle["email_verified"]
    assert (bundle["tenant_id"], auth.claims(bundle)["role"]) == (owner["tenant_id"], "member")
    tenants = (await auth.ask("GET", "tenants", bundle)).json()["items"]
    assert [one["id"] for one in tenants] == [owner["tenant_id"]]


async def test_an_invite_needs_no_name_of_a_tenant_and_nothing_else_goes_without(auth):
    owner = await auth.somebody()
    _, token = await invite(auth, owner, email="new@example.com")
    person = {"email": "new@example.com", "password": auth.password}
    assert code(await auth.post("register", **person)) == (422, "invalid_request")
    assert (await auth.post("register", **person, invite=token)).status_code == 202


async def test_the_token_of_a_mailed_invite_is_in_the_mail_alone(auth):
    owner = await auth.somebody()
    answer = await auth.ask("POST", INVITES, owner, {"email": "new@example.com", "role": "member"})
    [mail] = await auth.mails("invitation")
    assert answer.json()["token"] is None
    assert mail["token"] not in (await auth.ask("GET", INVITES, owner)).text
    secret = mail["token"].split(".")[1]
    for table in ("invites", "outbox", "audit_events"):
        rows = await auth.database.fetch(f"select t::text as row from {table} t")  # noqa: S608  # our tables
        assert not [row for row in rows if secret in row["row"]]
    [row] = await auth.audited("invite_created")
    assert "new@" not in row["detail"]


async def test_an_open_invite_takes_as_many_as_it_is_for(auth):
    owner = await auth.somebody()
    invite_id, token = await invite(auth, owner, role="viewer", max_uses=2)
    assert await auth.mails("invitation") == []
    people = [await auth.somebody(f"p{n}@example.com") for n in range(3)]
    answers = [await accept(auth, one, token) for one in people]
    assert [answer.status_code for answer in answers] == [200, 200, 400]
    assert code(answers[2]) == INVALID
    assert await used(auth, invite_id) == 2


async def test_of_twenty_at_once_as_many_get_in_as_the_invite_is_for(auth):
    owner = await auth.somebody()
    invite_id, token = await invite(auth, owner, max_uses=3)
    people = [await auth.somebody(f"p{n}@example.com") for n in range(5)]
    answers = await asyncio.gather(*(accept(auth, one, token) for one in people * 4))
    assert sum(answer.status_code == 200 for answer in answers) == 3
    assert {code(answer) for answer in answers if answer.status_code != 200} <= {
        INVALID,
        (409, "already_member"),
    }
    assert await used(auth, invite_id) == 3
    members = (await auth.ask("GET", "tenants/current/members", owner)).json()["items"]
    assert len(members) == 4


async def test_with_an_open_invite_an_address_has_still_to_be_confirmed(auth):
    owner = await auth.somebody()
    _, token = await invite(auth, owner, role="viewer", max_uses=2)
    assert (await auth.register("new@example.com", invite=token)).status_code == 202
    assert code(await auth.sign_in("new@example.com")) == (401, "invalid_credentials")
    members = (await auth.ask("GET", "tenants/current/members", owner)).json()["items"]
    assert [one["email"] for one in members] == ["ann@example.com"]
    assert (await auth.confirm()).status_code == 200
    assert auth.claims(await auth.session("new@example.com"))["role"] == "viewer"


async def test_a_member_uses_nothing_up(auth):
    owner = await auth.somebody()
    invite_id, token = await invite(auth, owner, max_uses=1)
    assert code(await accept(auth, owner, token)) == (409, "already_member")
    assert await used(auth, invite_id) == 0


async def test_a_link_that_is_opened_again_answers_already_member(auth):
    owner, bob = await auth.somebody(), await auth.somebody("bob@example.com")
    _, token = await invite(auth, owner, max_uses=1)
    assert (await accept(auth, bob, token)).status_code == 200
    assert code(await accept(auth, bob, token)) == (409, "already_member")


@pytest.mark.parametrize(
    "why",
    ["expired", "used", "revoked", "another's", "changed", "nonsense", "resent", "suspended", "deleted"],
)
async def test_an_invite_that_is_not_good_has_one_answer(auth, why):
    owner = await auth.somebody()
    bob = await auth.somebody("bob@example.com")
    to = "eve@example.com" if why == "another's" else "bob@example.com"
    invite_id, token = await invite(auth, owner, email=to)
    if why == "expired":
        await auth.database.execute("update invites set expires_at = now()")
    elif why == "used":
        assert (await accept(auth, bob, token)).status_code == 200
        await auth.ask("DELETE", f"tenants/current/members/{bob['user_id'][5:]}", owner)
        bob = await auth.session("bob@example.com")
    elif why == "revoked":
        assert (await auth.ask("DELETE", f"{INVITES}/{invite_id}", owner)).status_code == 204
    elif why == "changed":
        token = token[:-1] + ("A" if token[-1] != "A" else "B")
    elif why == "nonsense":
        token = "nothing like a token"
    elif why == "resent":
        assert (await auth.ask("POST", f"{INVITES}/{invite_id}/resend", owner)).status_code == 202
    elif why == "suspended":
        await auth.ask("POST", "tenants/current/suspend", owner)
    elif why == "deleted":
        await auth.ask("DELETE", "tenants/current", owner)
    answer = await accept(auth, bob, token)
    assert code(answer) == INVALID
    assert answer.json()["detail"].startswith("This invitation is invalid")
    # The same for who would sign up with it, and whether the address has an account or not.
    for email in ("bob@example.com", "new@example.com"):
        assert code(await auth.register(email, invite=token)) == INVALID


@pytest.mark.parametrize("loses", ["demoted", "removed", "leaves", "disabled", "deleted"])
async def test_an_invite_dies_with_the_right_of_who_made_it(auth, loses):
    owner = await auth.somebody()
    admin = await auth.joined(owner, "admin@example.com", "admin")
    bob = await auth.somebody("bob@example.com")
    _, token = await invite(auth, admin, email="bob@example.com")
    path = f"tenants/current/members/{admin['user_id'][5:]}"
    if loses == "demoted":
        await auth.ask("PATCH", path, owner, {"role": "member"})
        await auth.ask("PATCH", path, owner, {"role": "admin"})
    elif loses == "removed":
        await auth.ask("DELETE", path, owner)
    elif loses == "leaves":
        await auth.ask("POST", "tenants/current/leave", admin)
    elif loses == "disabled":
        await auth.database.execute(
            "update users set status = 'disabled' where email_key = 'admin@example.com'"
        )
    else:
        await auth.database.execute("delete from users where email_key = 'admin@example.com'")
    assert code(await accept(auth, bob, token)) == INVALID


async def test_an_owners_invites_of_owners_die_when_they_become_an_admin_and_others_live(auth):
    owner = await auth.somebody()
    await auth.joined(owner, "other@example.com", "owner")
    _, high = await invite(auth, owner, role="owner", max_uses=5)
    _, low = await invite(auth, owner, role="admin", max_uses=5)
    path = f"tenants/current/members/{owner['user_id'][5:]}"
    assert (await auth.ask("PATCH", path, owner, {"role": "admin"})).status_code == 200
    bob = await auth.somebody("bob@example.com")
    assert code(await accept(auth, bob, high)) == INVALID
    assert (await accept(auth, bob, low)).json()["role"] == "admin"


async def test_a_race_between_losing_the_right_and_using_it_lets_nobody_in_afterwards(auth):
    owner = await auth.somebody()
    admin = await auth.joined(owner, "admin@example.com", "admin")
    _, token = await invite(auth, admin, role="admin", max_uses=10)
    people = [await auth.somebody(f"p{n}@example.com") for n in range(6)]
    path = f"tenants/current/members/{admin['user_id'][5:]}"
    removal, *answers = await asyncio.gather(
        auth.ask("DELETE", path, owner), *(accept(auth, one, token) for one in people)
    )
    assert removal.status_code == 204
    got_in = sum(answer.status_code == 200 for answer in answers)
    assert all(answer.status_code == 200 or code(answer) == INVALID for answer in answers)
    members = (await auth.ask("GET", "tenants/current/members", owner)).json()["items"]
    assert len(members) == 1 + got_in
    late = await auth.somebody("late@example.com")
    assert code(await accept(auth, late, token)) == INVALID


async def test_lists_who_invited_whom_newest_first_page_by_page(auth):
    owner = await auth.somebody()
    for n in range(3):
        await invite(auth, owner, email=f"p{n}@example.com")
    first = (await auth.ask("GET", f"{INVITES}?limit=2", owner)).json()
    last = (await auth.ask("GET", f"{INVITES}?limit=2&cursor={first['next_cursor']}", owner)).json()
    emails = [one["email"] for one in first["items"] + last["items"]]
    assert emails == ["p2@example.com", "p1@example.com", "p0@example.com"]
    assert {one["invited_by"]["email"] for one in first["items"]} == {"ann@example.com"}


async def test_resending_makes_a_new_link(auth):
    owner = await auth.somebody()
    bob = await auth.somebody("bob@example.com")
    invite_id, _ = await invite(auth, owner, email="bob@example.com")
    assert (await auth.ask("POST", f"{INVITES}/{invite_id}/resend", owner)).status_code == 202
    token = (await auth.mails("invitation"))[-1]["token"]
    assert (await accept(auth, bob, token)).status_code == 200
    answer = await auth.ask("POST", f"{INVITES}/{invite_id}/resend", owner)
    assert code(answer) == (409, "invite_expired")
    open_id, _ = await invite(auth, owner)
    assert code(await auth.ask("POST", f"{INVITES}/{open_id}/resend", owner)) == (409, "invite_email_missing")


async def test_an_admin_touches_no_invite_of_an_owner(auth):
    owner = await auth.somebody()
    admin = await auth.joined(owner, "admin@example.com", "admin")
    invite_id, _ = await invite(auth, owner, email="bob@example.com", role="owner")
    assert code(await auth.ask("DELETE", f"{INVITES}/{invite_id}", admin)) == (403, "role_too_low")
    assert code(await auth.ask("POST", f"{INVITES}/{invite_id}/resend", admin)) == (403, "role_too_low")


async def test_who_resends_stands_for_the_invite_from_then_on(auth):
    owner = await auth.somebody()
    admin = await auth.joined(owner, "admin@example.com", "admin")
    bob = await auth.somebody("bob@example.com")
    invite_id, _ = await invite(auth, admin, email="bob@example.com")
    await auth.ask("POST", f"{INVITES}/{invite_id}/resend", owner)
    await auth.ask("POST", "tenants/current/leave", admin)
    token = (await auth.mails("invitation"))[-1]["token"]
    assert (await accept(auth, bob, token)).status_code == 200


async def test_a_tenant_can_say_which_domains_are_invited(auth):
    owner = await auth.somebody()
    settings = {"invite_domains": ["example.com"]}
    await auth.ask("PUT", "tenants/current/settings", owner, settings, **{"If-Match": "*"})
    fields = {"role": "member", "email": "bob@elsewhere.com"}
    assert code(await auth.ask("POST", INVITES, owner, fields)) == (422, "invite_domain_not_allowed")
    _, token = await invite(auth, owner, max_uses=2)
    assert code(await accept(auth, await auth.somebody("bob@elsewhere.com"), token)) == INVALID
    assert (await accept(auth, await auth.somebody("bob@EXAMPLE.com"), token)).status_code == 200


@pytest.mark.parametrize(
    "bad",
    [
        {"role": "root"},
        {"role": None},
        {"email": "no address"},
        {"max_uses": 0},
        {"max_uses": 101},
        {"email": "bob@example.com", "max_uses": 2},
        {"expires_in_hours": 0},
        {"expires_in_hours": 337},
        {"tenant_id": "00000000-0000-4000-8000-000000000000"},
    ],
)
async def test_refuses_invites_that_make_no_sense(auth, bad):
    owner = await auth.somebody()
    answer = await auth.ask("POST", INVITES, owner, {"role": "member", **bad})
    assert code(answer) == (422, "invalid_request")


@pytest.mark.parametrize("role", ["member", "viewer"])
async def test_only_who_manages_members_sees_and_makes_invites(auth, role):
    owner = await auth.somebody()
    low = await auth.joined(owner, "low@example.com", role)
    assert code(await auth.ask("GET", INVITES, low)) == (403, "forbidden")
    assert code(await auth.ask("POST", INVITES, low, {"role": "viewer"})) == (403, "forbidden")


async def test_limits_what_a_mailbox_and_a_tenant_get(start):
    auth = await start(auth_rate_limits={"subject:invites/mail": 1, "subject:invites": 3})
    owner = await auth.somebody()
    bob = {"role": "member", "email": "bob@example.com"}
    assert (await auth.ask("POST", INVITES, owner, bob)).status_code == 201
    assert code(await auth.ask("POST", INVITES, owner, bob)) == (429, "rate_limited")
    assert (await auth.ask("POST", INVITES, owner, {"role": "member"})).status_code == 201
    assert code(await auth.ask("POST", INVITES, owner, {"role": "member"})) == (429, "rate_limited")
    # What was refused left nothing behind.
    assert len(await listed(auth, owner)) == 2


async def test_sending_again_counts_for_the_mailbox_too(start):
    auth = await start(auth_rate_limits={"subject:invites/mail": 2})
    owner = await auth.somebody()
    invite_id, _ = await invite(auth, owner, email="bob@example.com")
    answers = [await auth.ask("POST", f"{INVITES}/{invite_id}/resend", owner) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [202, 429]
    assert len(await auth.mails("invitation")) == 2


async def test_limits_attempts_with_tokens(start):
    auth = await start(auth_rate_limits={"ip:invites/accept": 2})
    bundle = await auth.somebody()
    answers = [await accept(auth, bundle, "x") for _ in range(3)]
    assert [answer.status_code for answer in answers] == [400, 400, 429]


async def test_no_other_kind_of_token_passes_for_an_invite(auth):
    owner = await auth.somebody()
    await auth.register("bob@example.com")
    mail = (await auth.mail_tokens())[-1]
    for token in (owner["refresh_token"], mail):
        assert code(await accept(auth, owner, token)) == INVALID
    _, token = await invite(auth, owner)
    assert (await auth.post("email/verify", token=token)).json()["code"] == "invalid_email_token"
    assert code(await auth.post("refresh", refresh_token=token)) == (401, "invalid_refresh_token")
    assert code(await auth.me(token)) == (401, "invalid_token")
