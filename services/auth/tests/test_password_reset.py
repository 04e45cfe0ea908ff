import asyncio
import time

import pytest
from auth.account import password_reset
from auth.users import get_for_update

NEW = "an entirely new phrase"
OTHER = "yet another fine sentence"


async def forgot(auth, email="ann@example.com"):
    answer = await auth.post("password/forgot", email=email)
    assert answer.status_code == 202
    return answer


async def token(auth, email="ann@example.com"):
    await forgot(auth, email)
    return (await auth.mails("password_reset"))[-1]["token"]


async def reset(auth, held, password=NEW):
    return await auth.post("password/reset", token=held, password=password)


async def test_sets_a_new_password(auth):
    await auth.somebody()
    answer = await reset(auth, await token(auth))
    assert (answer.status_code, answer.content) == (204, b"")
    assert (await auth.sign_in(password=NEW)).status_code == 200
    assert (await auth.sign_in()).status_code == 401


async def test_mails_whoever_has_the_account_at_the_address_that_they_gave(auth):
    bundle = await auth.somebody("Ann@example.com", display_name="Ann")
    await forgot(auth, "ANN@example.com")
    [mail] = await auth.mails("password_reset")
    assert (mail["recipient"], mail["email"], mail["display_name"]) == (
        bundle["user_id"],
        "Ann@example.com",
        "Ann",
    )
    assert mail["token"] not in str([event["data"] for event in await auth.events()])


async def test_says_the_same_whatever_is_known_of_the_address(auth):
    await auth.somebody()
    await auth.register("pending@example.com")
    await auth.somebody("off@example.com")
    await auth.database.execute("update users set status = 'disabled' where email_key = 'off@example.com'")
    known = await forgot(auth)
    for email in ("unknown@example.com", "pending@example.com", "off@example.com"):
        answer = await forgot(auth, email)
        assert answer.json() == known.json()
        assert answer.headers.keys() == known.headers.keys()
    assert len(await auth.mails("password_reset")) == 1


@pytest.mark.parametrize("email", ["ann@example.com", "unknown@example.com"])
async def test_takes_no_less_time_whatever_is_known_of_the_address(start, email):
    auth = await start(password_reset_email_rate_limit_per_hour=1, auth_answer_floor_ms=100)
    await auth.somebody()
    # The second time the mailbox has had enough.
    for _ in range(2):
        begun = time.perf_counter()
        await forgot(auth, email)
        assert time.perf_counter() - begun >= 0.1


async def test_one_use_of_many_at_once_succeeds(auth):
    await auth.somebody()
    held = await token(auth)
    answers = await asyncio.gather(*(reset(auth, held, f"{NEW} number {n}") for n in range(20)))
    assert sorted(answer.status_code for answer in answers) == [204] + [400] * 19
    assert {answer.json()["code"] for answer in answers if answer.status_code == 400} == {
        "invalid_email_token"
    }
    assert len(await auth.mails("password_changed")) == 1


async def test_a_new_mail_voids_the_one_before(auth):
    await auth.somebody()
    first, second = await token(auth), await token(auth)
    assert (await reset(auth, first)).status_code == 400
    assert (await reset(auth, second)).status_code == 204


async def test_many_requests_at_once_leave_one_good_link(auth):
    await auth.somebody()
    await asyncio.gather(*(forgot(auth) for _ in range(5)))
    held = [mail["token"] for mail in await auth.mails("password_reset")]
    answers = [await reset(auth, one, f"{NEW} number {n}") for n, one in enumerate(held)]
    assert sorted(answer.status_code for answer in answers) == [204] + [400] * 4


async def test_asking_for_mails_while_one_is_used_breaks_neither(auth):
    await auth.somebody()
    held = await token(auth)
    ways = [way for _ in range(10) for way in (forgot(auth), reset(auth, held))]
    answers = [answer.status_code for answer in await asyncio.gather(*ways)]
    assert answers[::2] == [202] * 10
    assert set(answers[1::2]) <= {204, 400}


async def test_a_change_of_the_password_voids_the_link(auth):
    bundle = await auth.somebody()
    held = await token(auth)
    changed = await auth.post(
        "password/change", bundle["access_token"], current_password=auth.password, new_password=OTHER
    )
    assert changed.status_code == 204
    assert (await reset(auth, held)).status_code == 400


@pytest.mark.parametrize(
    "change",
    [
        "update email_tokens set expires_at = now() - interval '1 second'",
        "update users set email = 'eve@example.com', email_key = 'eve@example.com'",
        "update users set status = 'disabled'",
        "update email_tokens set purpose = 'email_change'",
        "delete from users",
    ],
)
async def test_a_link_that_is_too_old_or_for_something_else_is_not_good(auth, change):
    await auth.somebody()
    held = await token(auth)
    await auth.database.execute(change)
    answer = await reset(auth, held)
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_email_token")


async def test_is_good_for_half_an_hour(auth):
    await auth.somebody()
    await forgot(auth)
    minutes = await auth.database.fetchval(
        "select extract(epoch from max(expires_at) - now()) / 60 from email_tokens where used_at is null"
    )
    assert 29 < minutes <= 30


@pytest.mark.parametrize("nonsense", ["x", "." * 76, f"{'0' * 32}.{'A' * 43}"])
async def test_refuses_what_is_no_token(auth, nonsense):
    await auth.somebody()
    await forgot(auth)
    assert (await reset(auth, nonsense)).status_code == 400


async def test_no_other_mails_token_resets_and_a_resetting_one_confirms_nothing(auth):
    await auth.somebody()
    await auth.register("bob@example.com")
    confirming = (await auth.mail_tokens())[-1]
    assert (await reset(auth, confirming)).status_code == 400
    assert (await auth.post("email/verify", token=await token(auth))).status_code == 400


async def test_the_database_holds_nothing_that_resets(auth):
    await auth.somebody()
    held = await token(auth)
    rows = await auth.database.fetch("select * from email_tokens")
    assert held.partition(".")[2] not in str(rows)


async def test_ends_every_session_and_begins_none(auth):
    one = await auth.somebody()
    other = await auth.session()
    answer = await reset(auth, await token(auth))
    assert answer.content == b""
    for bundle in (one, other):
        assert (await auth.refresh(bundle)).status_code == 401
        assert (await auth.me(bundle["access_token"])).status_code == 401
    live = "select count(*) from sessions where ended_at is null"
    assert await auth.database.fetchval(live) == 0


async def test_leaves_the_sessions_and_passwords_of_others_alone(auth):
    await auth.somebody()
    bob = await auth.somebody("bob@example.com")
    await reset(auth, await token(auth))
    assert (await auth.refresh(bob)).status_code == 200


async def test_tells_the_owner_and_the_audit_log(auth):
    bundle = await auth.somebody()
    await reset(auth, await token(auth))
    [mail] = await auth.mails("password_changed")
    assert (mail["recipient"], mail["email"], mail["token"]) == (bundle["user_id"], "ann@example.com", None)
    [audit_event] = await auth.audited("authn_password_reset_requested")
    [done] = await auth.audited("authn_password_reset")
    assert (audit_event["actor"], audit_event["subject"]) == (None, bundle["user_id"])
    assert (done["subject"], done["address_digest"]) == (bundle["user_id"], audit_event["address_digest"])
    assert done["address_digest"]


@pytest.mark.parametrize(
    ("password", "code"),
    [
        ("short", "password_too_short"),
        ("password password", "password_too_weak"),
        ("ann@example.com Ann's Bakery", "password_too_weak"),
        ("four unrelated words here", "password_already_used"),
    ],
)
async def test_a_password_that_is_refused_leaves_the_link_good(auth, password, code):
    await auth.somebody()
    held = await token(auth)
    answer = await reset(auth, held, password)
    assert (answer.status_code, answer.json()["code"]) == (422, code)
    assert (await reset(auth, held)).status_code == 204


async def test_who_can_read_the_mail_has_confirmed_the_address(start):
    auth = await start(require_email_verification=False)
    await auth.register()
    assert not (await auth.session())["email_verified"]
    await reset(auth, await token(auth))
    assert (await auth.session(password=NEW))["email_verified"]


async def test_is_not_consumed_by_a_scanner_that_follows_the_link(auth):
    await auth.somebody()
    held = await token(auth)
    answer = await auth.public.get("/api/v1/auth/password/reset", params={"token": held})
    assert answer.status_code == 405
    assert (await reset(auth, held)).status_code == 204


async def test_a_mailbox_over_its_limit_gets_no_more_and_the_answer_is_the_same(start):
    auth = await start(password_reset_email_rate_limit_per_hour=2)
    await auth.somebody()
    answers = [await forgot(auth) for _ in range(4)]
    assert len({answer.text for answer in answers}) == 1
    assert len(await auth.mails("password_reset")) == 2


@pytest.mark.parametrize(
    ("limit", "path", "body"),
    [
        ("ip:password/forgot", "password/forgot", {"email": "unknown@example.com"}),
        ("ip:password/reset", "password/reset", {"token": "x", "password": NEW}),
    ],
)
async def test_counts_by_where_it_comes_from(start, limit, path, body):
    auth = await start(auth_rate_limits={limit: 2})
    answers = [await auth.post(path, **body) for _ in range(3)]
    assert [answer.status_code == 429 for answer in answers] == [False, False, True]
    assert int(answers[2].headers["retry-after"]) >= 1


async def test_an_admin_can_have_the_mail_sent_and_sees_nothing_of_it(auth):
    bundle = await auth.somebody()
    parts = auth.app.state.services
    async with parts.database.begin() as db:
        user = await get_for_update(db, "ann@example.com")
        result = await password_reset.send_email(db, parts, user, actor="user:the-admin")
    assert result is None
    [mail] = await auth.mails("password_reset")
    assert (await reset(auth, mail["token"])).status_code == 204
    [audit_event] = await auth.audited("authn_password_reset_requested")
    assert (audit_event["actor"], audit_event["subject"]) == ("user:the-admin", bundle["user_id"])
