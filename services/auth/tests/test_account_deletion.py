"""An account that its owner closes: nobody gets in, the owner can think again, and it is erased at last."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from auth.worker import ExpiryWorker

DAYS = 14
NEW = "an entirely new phrase"


@pytest.fixture
async def auth(start):
    return await start(auth_account_deletion_grace_days=DAYS)


async def leave(auth, bundle, password=None):
    return await auth.post("account/delete", bundle["access_token"], password=password or auth.password)


async def closed(auth, email="ann@example.com"):
    """Somebody who has closed their account, and the token of the letter."""
    bundle = await auth.somebody(email)
    answer = await leave(auth, bundle)
    assert (answer.status_code, answer.content) == (204, b"")
    return bundle, (await auth.mails("account_closing"))[-1]["token"]


async def restore(auth, token):
    return await auth.post("account/restore", token=token)


async def age(auth, days):
    """Advance the time."""
    for table, column in (("users", "erase_after"), ("email_tokens", "expires_at")):
        await auth.database.execute(
            f"update {table} set {column} = {column} - make_interval(days => $1)",  # noqa: S608  # ours
            days,
        )


async def tidy(auth):
    await ExpiryWorker(auth.app.state.resources.database).step()


async def deletion_events(auth):
    return [event for event in await auth.events() if event["type"] == "auth.user.deleted.v1"]


async def count(auth, table):
    return await auth.database.fetchval(f"select count(*) from {table}")  # noqa: S608  # ours


async def test_a_closed_account_lets_nobody_in_by_anything_they_hold(auth):
    bundle = await auth.somebody()
    other = await auth.session()
    made = await auth.ask("POST", "api-keys", bundle, {"name": "build", "scopes": ["conversations:read"]})
    key = made.json()["key"]
    await auth.post("password/forgot", email="ann@example.com")
    [reset] = await auth.mails("password_reset")
    assert (await leave(auth, bundle)).status_code == 204
    for one in (bundle, other):
        assert (await auth.me(one["access_token"])).status_code == 401
        assert (await auth.refresh(one)).status_code == 401
    assert (await auth.post("password/reset", token=reset["token"], password=NEW)).status_code == 400
    assert (await auth.sign_in()).status_code == 401
    keys = "select revoked_at from api_keys"
    assert await auth.database.fetchval(keys) is not None
    assert (await auth.me(key)).status_code == 401
    assert await deletion_events(auth) == []


async def test_a_closed_account_answers_like_one_that_is_not_there(auth):
    await closed(auth)
    answers = [
        (await auth.sign_in(email)).json() | {"request_id": None}
        for email in ("ann@example.com", "nobody@example.com")
    ]
    assert answers[0] == answers[1]
    before = len(await auth.mail_tokens())
    for way in ("password/forgot", "email/send"):
        both = [await auth.post(way, email=email) for email in ("ann@example.com", "nobody@example.com")]
        assert (both[0].status_code, both[0].content) == (both[1].status_code, both[1].content)
    again = [await auth.register(email) for email in ("ann@example.com", "new@example.com")]
    assert (again[0].status_code, again[0].content) == (again[1].status_code, again[1].content)
    # Nothing but what was asked for the address that is free.
    assert len(await auth.mail_tokens()) == before + 1


async def test_the_letter_opens_it_again_once(auth):
    bundle, token = await closed(auth)
    [mail] = await auth.mails("account_closing")
    until = datetime.fromisoformat(mail["expires_at"])
    assert timedelta(days=DAYS - 1) < until - datetime.now(UTC) <= timedelta(days=DAYS)
    await age(auth, DAYS - 1)
    await tidy(auth)
    answer = await restore(auth, token)
    assert (answer.status_code, answer.content) == (204, b"")
    assert (await restore(auth, token)).status_code == 204
    assert (await auth.refresh(bundle)).status_code == 401
    after = await auth.session()
    assert (after["user_id"], after["tenant_id"]) == (bundle["user_id"], bundle["tenant_id"])
    assert [mail["recipient"] for mail in await auth.mails("account_restored")] == [bundle["user_id"]]
    await age(auth, DAYS)
    await tidy(auth)
    assert (await auth.me(after["access_token"])).status_code == 200
    assert await deletion_events(auth) == []


async def test_it_is_erased_when_its_time_is_over_and_an_event_is_published(auth):
    bundle, token = await closed(auth)
    await auth.database.execute(
        """
        insert into invites (id, email, email_key, digest, max_uses, uses, expires_at)
        values (gen_random_uuid(), $1, $1, '', 1, 1, now() + interval '9 days')
        """,
        "ann@example.com",
    )
    await age(auth, DAYS)
    assert (await restore(auth, token)).json()["code"] == "invalid_email_token"
    await tidy(auth)
    for table in ("users", "memberships", "tenants", "sessions", "email_tokens", "invites"):
        assert (table, await count(auth, table)) == (table, 0)
    [event] = await deletion_events(auth)
    assert event["subject"] == bundle["user_id"]
    [mail] = await auth.mails("account_deleted")
    assert mail["email"] == "ann@example.com"
    [ended] = await auth.audited("user_deleted")
    assert ended["actor"] == bundle["user_id"]
    rows = str([tuple(row) for row in await auth.database.fetch("select * from audit_events")])
    assert "ann@" not in rows
    await tidy(auth)
    assert len(await deletion_events(auth)) == 1
    assert (await auth.somebody())["user_id"] != bundle["user_id"]


async def test_many_workers_erase_an_account_once(auth):
    for n in range(5):
        await closed(auth, f"person{n}@example.com")
    await age(auth, DAYS)
    await asyncio.gather(*(tidy(auth) for _ in range(4)))
    assert (len(await deletion_events(auth)), await count(auth, "users")) == (5, 0)


async def test_of_opening_and_erasing_at_once_one_happens(auth):
    _, token = await closed(auth)
    # The token is good for a moment longer than the account.
    await auth.database.execute("update users set erase_after = now() - interval '1 s'")
    answer, _ = await asyncio.gather(restore(auth, token), tidy(auth))
    erased = len(await deletion_events(auth))
    assert (answer.status_code, erased, await count(auth, "users")) in {(204, 0, 1), (400, 1, 0)}
    assert (await auth.sign_in()).status_code == (401 if erased else 200)


async def test_leaving_many_times_at_once_sends_one_letter(auth):
    bundle = await auth.somebody()
    answers = await asyncio.gather(*(leave(auth, bundle) for _ in range(10)))
    assert [answer.status_code for answer in answers].count(204) == 1
    assert len(await auth.mails("account_closing")) == 1


async def test_needs_the_password_and_a_fresh_proof(auth):
    bundle = await auth.somebody()
    assert (await leave(auth, bundle, "not the password")).json()["code"] == "invalid_password"
    await auth.database.execute("update sessions set authenticated_at = now() - interval '1 hour'")
    assert (await leave(auth, bundle)).json()["code"] == "insufficient_user_authentication"
    assert (await auth.me(bundle["access_token"])).status_code == 200


async def test_an_owner_who_leaves_is_no_owner_to_rely_on(auth):
    ann = await auth.somebody()
    bob = await auth.joined(ann, "bob@example.com", "member")
    assert (await leave(auth, ann)).json()["code"] == "sole_owner"
    await auth.role("bob@example.com", "owner")
    assert (await leave(auth, ann)).status_code == 204
    bob = await auth.session("bob@example.com")
    # Ann is in the tenant still, and may come back; it would have nobody until then.
    assert (await leave(auth, bob)).json()["code"] == "sole_owner"
    await age(auth, DAYS)
    await tidy(auth)
    assert (await auth.refresh(bob)).status_code == 200
    assert await count(auth, "memberships") == 1
    [event] = await deletion_events(auth)
    assert '"tenant_ids": []' in event["data"]


async def test_a_token_of_another_kind_opens_nothing(auth):
    await auth.somebody("bob@example.com")
    await auth.post("password/forgot", email="bob@example.com")
    [reset] = await auth.mails("password_reset")
    _, token = await closed(auth)
    assert (await restore(auth, reset["token"])).json()["code"] == "invalid_email_token"
    assert (await auth.post("password/reset", token=token, password=NEW)).status_code == 400
    assert (await restore(auth, f"{token[:-1]}{'A' if token[-1] != 'A' else 'B'}")).status_code == 400
    assert (await restore(auth, token)).status_code == 204


async def test_other_services_hear_that_it_is_not_in_use(auth):
    bundle, _ = await closed(auth)
    token = (await auth.machine(audience="auth", scope="members:read")).json()["access_token"]
    path = f"/internal/v1/tenants/{bundle['tenant_id']}/members/{bundle['user_id']}"
    headers = {
        "Authorization": f"Bearer {token}",
        "Acme-On-Behalf-Of": f"{bundle['tenant_id']}/{bundle['user_id']}",
    }
    answer = await auth.internal.get(path, headers=headers)
    assert (answer.status_code, answer.json()["user_status"]) == (200, "disabled")
