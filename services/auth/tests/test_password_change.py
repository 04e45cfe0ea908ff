import asyncio
import unicodedata
from collections import Counter
from itertools import pairwise

import pytest
from auth.errors import TooManySignIns
from auth.security import lockout
from testkit.eventually import time_limit

from .conftest import SESSION_OVER

NEW = "an entirely new phrase"


async def change(auth, bundle, new=NEW, current=None):
    return await auth.post(
        "password/change",
        bundle["access_token"],
        current_password=current or auth.password,
        new_password=new,
    )


async def test_changes_the_password_and_ends_all_other_sessions(auth):
    other = await auth.somebody()
    mine = await auth.session()
    answer = await change(auth, mine)
    assert (answer.status_code, answer.content) == (204, b"")
    assert (await auth.refresh(mine)).status_code == 200
    assert (await auth.refresh(other)).status_code == 401
    assert (await auth.sign_in()).status_code == 401
    assert (await auth.sign_in(password=NEW)).status_code == 200


async def test_tells_the_owner_and_the_audit_log(auth):
    bundle = await auth.somebody()
    await change(auth, bundle)
    [mail] = await auth.mails("password_changed")
    assert (mail["recipient"], mail["email"]) == (bundle["user_id"], "ann@example.com")
    [event] = await auth.audited("authn_password_change")
    assert (event["actor"], str(event["session_id"])) == (bundle["user_id"], bundle["session_id"])
    assert event["detail"] == "{}"


async def test_a_password_that_is_replaced_while_somebody_signs_in_with_it_opens_nothing(auth):
    await auth.somebody()
    replacement = await auth.app.state.services.passwords.hash(NEW)
    async with time_limit(), auth.database.transaction():
        await auth.database.execute("update users set password_hash = $1", replacement)
        signing_in = asyncio.create_task(auth.sign_in())
        while not await auth.database.fetchval("select count(*) from pg_locks where not granted"):
            assert not signing_in.done()
            await asyncio.sleep(0.01)
    assert (await signing_in).status_code == 401


async def test_a_new_password_leaves_no_session_of_those_who_signed_in_with_the_old_one(auth):
    mine = await auth.somebody()
    ways = [change(auth, mine), *(auth.sign_in() for _ in range(20))]
    changed, *others = await asyncio.gather(*ways)
    assert changed.status_code == 204
    for answer in others:
        if answer.status_code == 200:
            assert (await auth.refresh(answer.json())).status_code == 401


async def test_needs_the_present_password(auth):
    bundle = await auth.somebody()
    answer = await change(auth, bundle, current="some other words there")
    assert (answer.status_code, answer.json()["code"]) == (403, "invalid_password")
    assert (await auth.sign_in()).status_code == 200
    [event] = await auth.audited("authn_login_fail")
    assert event["actor"] == bundle["user_id"]


async def test_guessing_counts_like_signing_in(start):
    auth = await start(auth_rate_limits={"subject:token": 3})
    bundle = await auth.somebody()
    codes = [(await change(auth, bundle, current=f"wrong words number {n}")).status_code for n in range(3)]
    assert codes == [403, 403, 429]
    assert (await auth.sign_in()).status_code == 429


async def test_a_wrong_one_counts_in_the_long_run_too(auth):
    bundle = await auth.somebody()
    for n in range(3):
        await change(auth, bundle, current=f"wrong words number {n}")
    assert await auth.database.fetchval("select failed_sign_ins from users") == 3
    await auth.database.execute("update users set failed_sign_ins = $1", lockout.MAX_FAILURES)
    assert (await change(auth, bundle)).status_code == 403
    assert await auth.database.fetchval("select failed_sign_ins from users") == lockout.MAX_FAILURES


async def test_does_not_count_what_could_not_be_judged(auth, monkeypatch):
    bundle = await auth.somebody()

    async def busy(*_):
        raise TooManySignIns

    with monkeypatch.context() as patch:
        patch.setattr(auth.app.state.services.passwords, "verify", busy)
        for _ in range(6):
            assert (await change(auth, bundle)).status_code == 503
    assert (await change(auth, bundle)).status_code == 204


async def test_needs_a_session_that_goes_on(auth):
    bundle = await auth.somebody()
    await auth.post("logout", refresh_token=bundle["refresh_token"])
    answer = await change(auth, bundle)
    assert (answer.status_code, answer.json()["code"]) in SESSION_OVER
    answer = await auth.post("password/change", current_password=auth.password, new_password=NEW)
    assert answer.status_code == 401


async def test_of_many_at_once_one_succeeds(auth):
    bundle = await auth.somebody()
    answers = await asyncio.gather(*(change(auth, bundle, f"{NEW} number {n}") for n in range(20)))
    # Who has waited too long for the others to be judged is told to come again.
    assert Counter(answer.status_code for answer in answers)[204] == 1
    assert {answer.status_code for answer in answers} <= {204, 403, 429}
    [won] = [n for n, answer in enumerate(answers) if answer.status_code == 204]
    assert (await auth.sign_in(password=f"{NEW} number {won}")).status_code == 200
    assert len(await auth.mails("password_changed")) == 1


async def test_the_last_five_passwords_do_not_come_again(auth):
    bundle = await auth.somebody()
    phrases = [auth.password, *(f"{NEW} number {n}" for n in range(5))]
    for before, after in pairwise(phrases):
        assert (await change(auth, bundle, after, before)).status_code == 204
    for used in phrases[1:]:
        answer = await change(auth, bundle, used, phrases[-1])
        assert (answer.status_code, answer.json()["code"]) == (422, "password_already_used")
    assert (await change(auth, bundle, phrases[0], phrases[-1])).status_code == 204
    assert await auth.database.fetchval("select count(*) from passwords_before") == 4


async def test_the_present_password_is_no_new_one_however_it_is_typed(auth):
    accented = "crème brûlée à la carte"
    bundle = await auth.somebody(password=unicodedata.normalize("NFC", accented))
    typed = unicodedata.normalize("NFD", accented)
    assert (await change(auth, bundle, typed, typed)).json()["code"] == "password_already_used"


async def test_without_a_history_a_password_may_come_again(start):
    auth = await start(auth_password_history_count=0)
    bundle = await auth.somebody()
    assert (await change(auth, bundle, auth.password)).status_code == 204
    assert await auth.database.fetchval("select count(*) from passwords_before") == 0


async def test_others_histories_do_not_matter(auth):
    await auth.somebody()
    bob = await auth.somebody("bob@example.com", password="what bob has thought up")
    assert (await change(auth, bob, auth.password, "what bob has thought up")).status_code == 204


@pytest.mark.parametrize(
    "password",
    [
        "two words and 64 characters or more: " + "lorem ipsum dolor sit amet " * 2,
        "nothing but small letters",
        "日本語のとても長い合言葉をここに書く",
        "spaces   and = signs ☃ of all kinds",
    ],
)
async def test_takes_long_ones_and_any_characters(auth, password):
    bundle = await auth.somebody()
    assert (await change(auth, bundle, password)).status_code == 204
    for form in ("NFC", "NFD"):
        answer = await auth.sign_in(password=unicodedata.normalize(form, password))
        assert answer.status_code == 200


@pytest.mark.parametrize(
    ("password", "code"),
    [
        ("fourteen chars", "password_too_short"),
        ("0 1 2 3 4 5 6 7 8 9 " * 13, "password_too_long"),
        ("acme acme acme acme", "password_too_weak"),
        ("Ann's Bakery: bakery", "password_too_weak"),
        ("x" * 1025, "invalid_request"),
    ],
)
async def test_says_why_a_password_is_refused(auth, password, code):
    bundle = await auth.somebody()
    answer = await change(auth, bundle, password)
    assert (answer.status_code, answer.json()["code"]) == (422, code)
    assert password not in answer.text
    assert (await auth.sign_in()).status_code == 200


async def test_a_machine_has_no_password(auth):
    machine = await auth.app.state.services.access_tokens.for_service("chat-agent", "auth", ["tools:read"])
    answer = await change(auth, {"access_token": machine.token})
    assert answer.status_code == 403
