"""Several registrations of one address: the mailbox's owner gets the account, by the password of theirs.

Ann owns the mailbox and gets every mail; Mallory only knows her address.
"""

import asyncio

import pytest
from auth.registration.registration import MAX_PENDING
from auth.worker import ExpiryWorker

from .conftest import PASSWORD

MALLORYS = "quite different words there"
ANNS_TENANT = "Ann's Bakery"
REQUIRED = (400, "sign_up_password_required")
WRONG = (400, "invalid_sign_up_password")
INVALID = (400, "invalid_email_token")


def code(answer):
    return answer.status_code, answer.json()["code"]


async def sign_up(auth, who, **more):
    """Sign up with Ann's address, as Ann or as Mallory; gives the token of the mail to it."""
    changes = {} if who == "ann" else {"password": MALLORYS, "tenant_name": "Mallory's"}
    assert (await auth.register(**changes, **more)).status_code == 202
    return (await auth.mail_tokens())[-1]


async def verify(auth, token, password=None):
    return await auth.post("email/verify", token=token, **({"password": password} if password else {}))


async def assert_is_anns(auth):
    """Ann's password opens the one account of the address, with the tenant that she has named."""
    assert (await auth.sign_in(password=MALLORYS)).status_code == 401
    bundle = await auth.session()
    assert (await auth.me(bundle["access_token"])).json()["tenant_name"] == ANNS_TENANT
    assert await auth.database.fetchval("select count(*) from users where email_key = 'ann@example.com'") == 1
    assert await auth.database.fetchval("select count(*) from tenants where name = 'Mallory''s'") == 0


async def assert_nobody_is_in(auth):
    for password in (PASSWORD, MALLORYS):
        assert (await auth.sign_in(password=password)).status_code == 401


@pytest.mark.parametrize("order", [("ann", "mallory"), ("mallory", "ann"), ("mallory", "ann", "mallory")])
@pytest.mark.parametrize("link", ["first", "last", "sent again"])
async def test_whichever_link_is_followed_the_password_chooses(auth, order, link):
    tokens = [await sign_up(auth, who) for who in order]
    if link == "sent again":
        await auth.post("email/send", email="ann@example.com")
        tokens = await auth.mail_tokens()
    token = tokens[0] if link == "first" else tokens[-1]

    assert code(await verify(auth, token)) == REQUIRED
    assert code(await verify(auth, token, "words that nobody signed up with")) == WRONG
    await assert_nobody_is_in(auth)
    assert (await verify(auth, token, PASSWORD)).status_code == 200
    await assert_is_anns(auth)
    # Nothing of the others is left to be confirmed.
    for other in await auth.mail_tokens():
        assert code(await verify(auth, other, MALLORYS)) == INVALID
        for password in (None, PASSWORD):
            again = await verify(auth, other, password)
            assert again.status_code == 200 if other == token else code(again) == INVALID
    assert len(await auth.audited("user_email_verified")) == 1


async def test_a_link_of_the_only_sign_up_confirms_it_alone_but_not_with_another_password(auth):
    token = await sign_up(auth, "ann")
    assert code(await verify(auth, token, MALLORYS)) == WRONG
    assert (await verify(auth, token)).status_code == 200
    await assert_is_anns(auth)


async def test_who_signs_up_twice_confirms_by_either_link(auth):
    first = await sign_up(auth, "ann")
    await sign_up(auth, "ann")
    assert (await verify(auth, first, PASSWORD)).status_code == 200
    await assert_is_anns(auth)


async def test_the_link_of_another_sign_up_says_that_the_address_is_confirmed_too(auth):
    await sign_up(auth, "ann")
    mallorys = await sign_up(auth, "mallory")
    for _ in range(2):
        assert (await verify(auth, mallorys, PASSWORD)).status_code == 200
    assert (await verify(auth, mallorys, MALLORYS)).status_code == 400
    await assert_is_anns(auth)


async def test_a_link_that_ran_out_opens_nothing_and_another_still_does(auth):
    anns, mallorys = await sign_up(auth, "ann"), await sign_up(auth, "mallory")
    await auth.database.execute(
        "update email_tokens set expires_at = now() where id = $1", anns.partition(".")[0]
    )
    assert code(await verify(auth, anns, PASSWORD)) == INVALID
    assert (await verify(auth, mallorys, PASSWORD)).status_code == 200
    await assert_is_anns(auth)


async def test_a_sign_up_that_comes_while_another_is_confirmed_changes_nothing(auth):
    token = await sign_up(auth, "ann")
    answers = await asyncio.gather(
        verify(auth, token, PASSWORD), *(sign_up(auth, "mallory") for _ in range(5))
    )
    assert answers[0].status_code == 200
    for late in await auth.mail_tokens():
        await verify(auth, late, MALLORYS)
    await assert_is_anns(auth)


async def test_of_two_who_confirm_at_once_one_does(auth):
    tokens = [await sign_up(auth, "ann"), await sign_up(auth, "mallory")]
    answers = await asyncio.gather(
        *(verify(auth, token, word) for token in tokens for word in (PASSWORD, MALLORYS))
    )
    assert sorted(answer.status_code for answer in answers) == [200, 400, 400, 400]
    assert await auth.database.fetchval("select count(*) from users") == 1


async def test_each_sign_up_keeps_its_own_invite(auth):
    owner = await auth.somebody("owner@example.com", tenant_name="The Team")
    fields = {"role": "member", "max_uses": 5}
    invite = (await auth.ask("POST", "tenants/current/invites", owner, fields)).json()["token"]
    await sign_up(auth, "mallory")
    await sign_up(auth, "ann", invite=invite)
    token = await sign_up(auth, "mallory", invite=invite)
    assert (await verify(auth, token, PASSWORD)).status_code == 200
    assert (await auth.session())["tenant_id"] == owner["tenant_id"]
    members = (await auth.ask("GET", "tenants/current/members", owner)).json()["items"]
    assert sorted(member["email"] for member in members) == ["ann@example.com", "owner@example.com"]


async def test_an_invite_that_was_mailed_confirms_its_own_sign_up_and_ends_the_others(auth):
    owner = await auth.somebody("owner@example.com", tenant_name="The Team")
    mallorys = await sign_up(auth, "mallory")
    await auth.ask("POST", "tenants/current/invites", owner, {"email": "ann@example.com", "role": "member"})
    invite = (await auth.mails("invitation"))[-1]["token"]
    assert (await auth.register(invite=invite)).status_code == 202
    for password in (None, MALLORYS, PASSWORD):
        assert code(await verify(auth, mallorys, password)) == INVALID
    assert (await auth.session())["tenant_id"] == owner["tenant_id"]
    assert (await auth.sign_in(password=MALLORYS)).status_code == 401


async def test_who_takes_the_address_by_a_change_ends_all_sign_ups_with_it(auth):
    bundle = await auth.somebody("ann@elsewhere.example")
    tokens = [await sign_up(auth, "mallory"), await sign_up(auth, "mallory")]
    fields = {"new_email": "ann@example.com", "password": PASSWORD}
    assert (await auth.post("email/change", bundle["access_token"], **fields)).status_code == 202
    change = (await auth.mails("email_change"))[-1]["token"]
    assert (await auth.post("email/change/confirm", token=change)).status_code == 200
    for token in tokens:
        assert code(await verify(auth, token, MALLORYS)) == INVALID
    await auth.session()


async def test_sign_ups_of_an_address_run_out_together(auth):
    """Or the link of the one that is left would need no password."""
    await sign_up(auth, "ann")
    await auth.database.execute("update users set created_at = now() - interval '8 days'")
    token = await sign_up(auth, "mallory")
    expiry = ExpiryWorker(auth.app.state.resources.database)
    await expiry.step()
    assert code(await verify(auth, token)) == REQUIRED
    await auth.database.execute("update users set created_at = now() - interval '8 days'")
    await expiry.step()
    assert (
        await auth.database.fetchval("select (select count(*) from users) + (select count(*) from tenants)")
        == 0
    )


async def test_the_oldest_of_too_many_makes_room(auth):
    tokens = [await sign_up(auth, "mallory") for _ in range(MAX_PENDING)]
    token = await sign_up(auth, "ann")
    assert await auth.database.fetchval("select count(*) from users") == MAX_PENDING
    assert code(await verify(auth, tokens[0], MALLORYS)) == INVALID
    assert (await verify(auth, token, PASSWORD)).status_code == 200
    await assert_is_anns(auth)
