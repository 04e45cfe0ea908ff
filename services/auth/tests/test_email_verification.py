import asyncio

import pytest


async def test_confirms_once(auth):
    await auth.register()
    [token] = await auth.mail_tokens()
    answers = await asyncio.gather(*(auth.post("email/verify", token=token) for _ in range(10)))
    assert {answer.status_code for answer in answers} == {200}
    assert {answer.text for answer in answers} == {'{"email_verified":true}'}
    assert len(await auth.audited("user_email_verified")) == 1


async def test_says_that_the_address_is_confirmed_when_a_scanner_was_first(auth):
    await auth.register()
    assert (await auth.confirm()).status_code == 200
    assert (await auth.confirm()).json() == {"email_verified": True}
    await auth.database.execute("update users set status = 'disabled'")
    assert (await auth.confirm()).json()["code"] == "invalid_email_token"


async def test_is_not_consumed_by_a_scanner_that_follows_the_link(auth):
    await auth.register()
    [token] = await auth.mail_tokens()
    answer = await auth.public.get("/api/v1/auth/email/verify", params={"token": token})
    assert answer.status_code == 405
    assert (await auth.post("email/verify", token=token)).status_code == 200


async def test_sends_again_and_voids_the_link_before(auth):
    await auth.register()
    assert (await auth.post("email/send", email="ANN@example.com")).status_code == 202
    first, second = await auth.mail_tokens()
    assert [event["type"] for event in await auth.events()] == [
        "auth.tenant.created.v1",
        "auth.user.registered.v1",
        "auth.email.requested.v1",
        "auth.email.requested.v1",
    ]
    assert (await auth.post("email/verify", token=first)).status_code == 400
    assert (await auth.post("email/verify", token=second)).status_code == 200


async def test_leaves_one_valid_link_of_many_requested_at_once(auth):
    await auth.register()
    await asyncio.gather(*(auth.post("email/send", email="ann@example.com") for _ in range(5)))
    answers = [await auth.post("email/verify", token=token) for token in await auth.mail_tokens()]
    assert sorted(answer.status_code for answer in answers) == [200] + [400] * 5


@pytest.mark.parametrize(("email", "mails"), [("unknown@example.com", 0), ("ann@example.com", 1)])
async def test_confirms_nothing_where_there_is_nothing_to_confirm_and_reveals_it_by_email_alone(
    auth, email, mails
):
    await auth.somebody()
    await auth.register("bob@example.com")
    pending = await auth.post("email/send", email="bob@example.com")
    before = len(await auth.events())
    answer = await auth.post("email/send", email=email)
    assert (answer.status_code, answer.json()) == (pending.status_code, pending.json())
    assert len(await auth.mails("account_exists")) == mails
    assert len(await auth.events()) == before + mails


async def test_sends_nothing_to_a_disabled_account(auth):
    await auth.register()
    [token] = await auth.mail_tokens()
    await auth.database.execute("update users set status = 'disabled'")
    await auth.post("email/send", email="ann@example.com")
    assert await auth.mail_tokens() == [token]
    assert (await auth.post("email/verify", token=token)).status_code == 400


async def test_refuses_a_link_that_is_too_old(auth):
    await auth.register()
    await auth.database.execute("update email_tokens set expires_at = now() - interval '1 second'")
    assert (await auth.confirm()).status_code == 400


async def test_refuses_a_link_to_an_address_that_was_changed_meanwhile(auth):
    await auth.register()
    await auth.database.execute("update users set email_key = 'other@example.com'")
    assert (await auth.confirm()).status_code == 400


async def test_refuses_anything_but_the_whole_token(auth):
    await auth.register()
    await auth.register("bob@example.com")
    anns, bobs = await auth.mail_tokens()
    (ann_id, ann_secret), (bob_id, bob_secret) = anns.split("."), bobs.split(".")
    mixed = [f"{ann_id}.{bob_secret}", f"{bob_id}.{ann_secret}", ann_id, f"{ann_id}.", f".{ann_secret}"]
    broken = [f"{anns}=", f"{anns} ", anns.upper(), anns.replace(".", "%2e"), "x", "' or 1=1 --", "🥐.🥐"]
    for token in [*mixed, *broken]:
        assert (await auth.post("email/verify", token=token)).json()["code"] == "invalid_email_token"
    assert (await auth.post("email/verify", token="")).status_code == 422
    assert (await auth.post("email/verify", token=anns)).status_code == 200


async def test_keeps_only_a_keyed_digest(auth):
    await auth.register()
    [token] = await auth.mail_tokens()
    stored = await auth.database.fetchrow("select * from email_tokens")
    secret = token.partition(".")[2]
    assert secret not in str(dict(stored))
    assert len(stored["digest"]) == 32
