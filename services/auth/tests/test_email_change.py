import asyncio

import pytest

NEW = "ann@elsewhere.example"


async def ask(auth, bundle, new_email=NEW, password=None):
    return await auth.post(
        "email/change", bundle["access_token"], new_email=new_email, password=password or auth.password
    )


async def token(auth, bundle, new_email=NEW):
    answer = await ask(auth, bundle, new_email)
    assert answer.status_code == 202
    return (await auth.mails("email_change"))[-1]["token"]


async def confirm(auth, email_token):
    return await auth.post("email/change/confirm", token=email_token)


async def test_the_new_address_signs_in_once_it_is_confirmed(auth):
    bundle = await auth.somebody()
    email_token = await token(auth, bundle)
    assert (await auth.sign_in(NEW)).status_code == 401
    answer = await confirm(auth, email_token)
    assert (answer.status_code, answer.json()) == (200, {"email_changed": True})
    assert (await auth.sign_in()).status_code == 401
    after = await auth.session(NEW)
    assert after["user_id"] == bundle["user_id"]
    assert after["email_verified"]
    assert (await auth.me(after["access_token"])).json()["email"] == NEW


async def test_the_token_goes_to_the_new_address_and_the_news_to_the_old_one(auth):
    bundle = await auth.somebody(display_name="Ann")
    await confirm(auth, await token(auth, bundle, "Ann@Elsewhere.example"))
    [request] = await auth.mails("email_change")
    [notice] = await auth.mails("email_changed")
    assert (request["email"], request["recipient"]) == ("Ann@elsewhere.example", bundle["user_id"])
    assert (notice["email"], notice["recipient"], notice["token"]) == (
        "ann@example.com",
        bundle["user_id"],
        None,
    )
    assert notice["facts"] == {"new_email_masked": "A***@elsewhere.example"}
    assert [mail["email"] for mail in await auth.mails("password_changed")] == []


async def test_tells_the_audit_log_without_an_address(auth):
    bundle = await auth.somebody()
    await confirm(auth, await token(auth, bundle))
    [request] = await auth.audited("user_email_change_requested")
    [done] = await auth.audited("user_email_changed")
    assert request["actor"] == done["actor"] == bundle["user_id"]
    assert "elsewhere" not in str([*request.values(), *done.values()])


async def test_ends_every_session(auth):
    one = await auth.somebody()
    other = await auth.session()
    await confirm(auth, await token(auth, one))
    for bundle in (one, other):
        assert (await auth.refresh(bundle)).status_code == 401


async def test_needs_the_password_and_counts_like_signing_in(start):
    auth = await start(auth_rate_limits={"subject:token": 3})
    bundle = await auth.somebody()
    answers = [await ask(auth, bundle, password=f"wrong words number {n}") for n in range(3)]
    assert [answer.json()["code"] for answer in answers] == ["invalid_password"] * 2 + ["rate_limited"]
    assert await auth.mails("email_change") == []


async def test_needs_a_session_that_goes_on(auth):
    bundle = await auth.somebody()
    await auth.post("logout", refresh_token=bundle["refresh_token"])
    assert (await ask(auth, bundle)).status_code == 401


@pytest.mark.parametrize("taken", ["bob@example.com", "BOB@Example.com"])
async def test_says_the_same_of_an_address_that_is_taken(auth, taken):
    bundle = await auth.somebody()
    await auth.somebody("bob@example.com")
    free = await ask(auth, bundle)
    answer = await ask(auth, bundle, taken)
    assert (answer.status_code, answer.json()) == (free.status_code, free.json())
    assert [mail["email"] for mail in await auth.mails("email_change")] == [NEW]


async def test_an_address_that_is_taken_meanwhile_stays_whose_it_is(auth):
    bundle = await auth.somebody()
    email_token = await token(auth, bundle)
    newcomer = await auth.somebody(NEW)
    answer = await confirm(auth, email_token)
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_email_token")
    assert (await auth.session(NEW))["user_id"] == newcomer["user_id"]
    assert (await auth.session())["user_id"] == bundle["user_id"]


async def test_a_registration_that_nobody_confirmed_gives_way(auth):
    bundle = await auth.somebody()
    await auth.register(NEW, password="what a squatter has typed")
    assert (await confirm(auth, await token(auth, bundle))).status_code == 200
    assert (await auth.session(NEW))["user_id"] == bundle["user_id"]
    assert await auth.database.fetchval("select count(*) from users") == 1


async def test_of_many_who_want_the_same_address_one_gets_it(auth):
    people = [await auth.somebody(f"person{n}@example.com") for n in range(6)]
    email_token = [await token(auth, person) for person in people]
    answers = await asyncio.gather(*(confirm(auth, one) for one in email_token))
    assert sorted(answer.status_code for answer in answers) == [200] + [400] * 5
    assert await auth.database.fetchval("select count(*) from users where email_key = $1", NEW) == 1


async def test_a_token_is_good_once_and_only_the_newest_is(auth):
    bundle = await auth.somebody()
    first = await token(auth, bundle, "first@elsewhere.example")
    second = await token(auth, bundle)
    assert (await confirm(auth, first)).status_code == 400
    answers = await asyncio.gather(*(confirm(auth, second) for _ in range(20)))
    assert {answer.status_code for answer in answers} == {200}
    assert len(await auth.mails("email_changed")) == 1
    await auth.database.execute("update users set email_key = 'third@elsewhere.example'")
    assert (await confirm(auth, second)).status_code == 400


@pytest.mark.parametrize(
    "change",
    [
        "update email_tokens set expires_at = now() - interval '1 second'",
        "update users set status = 'disabled'",
        "update users set new_email = 'eve@example.com'",
        "update users set new_email = null",
        "delete from users",
    ],
)
async def test_a_token_that_is_too_old_or_for_something_else_is_not_good(auth, change):
    email_token = await token(auth, await auth.somebody())
    await auth.database.execute(change)
    assert (await confirm(auth, email_token)).status_code == 400


async def test_a_new_password_voids_what_somebody_else_may_have_requested(auth):
    email_token = await token(auth, await auth.somebody())
    await auth.post("password/forgot", email="ann@example.com")
    [mail] = await auth.mails("password_reset")
    await auth.post("password/reset", token=mail["token"], password="an entirely new phrase")
    assert (await confirm(auth, email_token)).status_code == 400


async def test_a_new_address_voids_the_link_that_went_to_the_old_one(auth):
    bundle = await auth.somebody()
    await auth.post("password/forgot", email="ann@example.com")
    [mail] = await auth.mails("password_reset")
    await confirm(auth, await token(auth, bundle))
    answer = await auth.post("password/reset", token=mail["token"], password="an entirely new phrase")
    assert answer.status_code == 400


async def test_no_other_mails_token_changes_the_address(auth):
    bundle = await auth.somebody()
    email_token = await token(auth, bundle)
    assert (await auth.post("email/verify", token=email_token)).status_code == 400
    assert (
        await auth.post("password/reset", token=email_token, password="an entirely new phrase")
    ).status_code == 400
    await auth.post("password/forgot", email="ann@example.com")
    [mail] = await auth.mails("password_reset")
    assert (await confirm(auth, mail["token"])).status_code == 400
    assert (
        await auth.public.get("/api/v1/auth/email/change/confirm", params={"token": email_token})
    ).status_code == 405
    assert (await confirm(auth, email_token)).status_code == 200


async def test_one_may_write_the_same_address_in_another_way(auth):
    bundle = await auth.somebody()
    await confirm(auth, await token(auth, bundle, "ANN@example.com"))
    after = await auth.session("ann@example.com")
    assert (await auth.me(after["access_token"])).json()["email"] == "ANN@example.com"


@pytest.mark.parametrize(
    "wrong", ["ann", "ann@", "Ann <ann@example.com>", "a@b.c\r\nBcc: all@example.com", ""]
)
async def test_refuses_what_is_no_address(auth, wrong):
    answer = await ask(auth, await auth.somebody(), wrong)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")


async def test_a_mailbox_over_its_limit_gets_no_more_and_the_answer_is_the_same(start):
    auth = await start(email_verification_email_rate_limit_per_hour=2)
    bundle = await auth.somebody()
    answers = [await ask(auth, bundle) for _ in range(4)]
    assert {answer.status_code for answer in answers} == {202}
    assert len(await auth.mails("email_change")) == 2
