import asyncio
import json
import unicodedata

import pytest

from .conftest import FULL_COST

OTHER_PASSWORD = "quite different words there"


async def test_makes_an_account_and_a_tenant_that_it_owns(auth):
    answer = await auth.register(display_name="Ann")
    assert answer.status_code == 202
    await auth.confirm()
    bundle = await auth.session()
    me = (await auth.me(bundle["access_token"])).json()
    assert me == {
        "user_id": bundle["user_id"],
        "email": "ann@example.com",
        "email_verified": True,
        "display_name": "Ann",
        "tenant_id": bundle["tenant_id"],
        "tenant_name": "Ann's Bakery",
        "tenant_slug": "ann-s-bakery",
        "role": "owner",
        "scopes": bundle["scopes"],
        "session_id": bundle["session_id"],
    }


async def test_tells_whoever_sends_mail_what_to_confirm(auth):
    await auth.register(display_name="Ann")
    created, event, email = await auth.events()
    user = await auth.database.fetchrow(
        "select users.id, tenant_id from users join memberships on user_id = users.id"
    )
    tenant = str(user["tenant_id"])
    assert (created["type"], created["subject"]) == ("auth.tenant.created.v1", f"tenant:{tenant}")
    assert json.loads(created["data"]) == {"tenant_id": tenant}
    assert event["type"] == "auth.user.registered.v1"
    assert (event["subject"], event["tenant_id"]) == (f"user:{user['id']}", user["tenant_id"])
    assert json.loads(event["data"]) == {"user_id": event["subject"], "tenant_id": tenant}
    assert (email["type"], email["subject"]) == ("auth.email.requested.v1", event["subject"])
    [token] = await auth.mail_tokens()
    assert token not in email["data"]
    assert token.partition(".")[0] in str(
        await auth.database.fetchval("select replace(id::text, '-', '') from email_tokens")
    )


async def test_answers_the_same_for_a_known_address(auth):
    first = await auth.register("new@example.com")
    await auth.somebody()
    again = await auth.register()
    assert (first.status_code, first.json()) == (again.status_code, again.json())
    assert first.headers.keys() == again.headers.keys()


async def test_never_changes_an_account_that_is_in_use(auth):
    await auth.somebody()
    before = await auth.database.fetch("select * from users, tenants")
    await auth.register(password=OTHER_PASSWORD, tenant_name="Not Ann's")
    assert await auth.database.fetch("select * from users, tenants") == before
    [mail] = await auth.mails("account_exists")
    assert (mail["email"], mail["token"]) == ("ann@example.com", None)
    assert len(await auth.events()) == 4
    assert (await auth.sign_in(password=OTHER_PASSWORD)).status_code == 401


async def test_does_not_replace_an_account_in_use_that_never_had_to_confirm(start):
    auth = await start(require_email_verification=False)
    await auth.register()
    await auth.register(password=OTHER_PASSWORD)
    assert (await auth.sign_in()).status_code == 200
    assert (await auth.sign_in(password=OTHER_PASSWORD)).status_code == 401


async def test_makes_one_account_of_many_requests_at_once(auth):
    answers = await asyncio.gather(*(auth.register() for _ in range(8)))
    assert {answer.status_code for answer in answers} == {202}
    token = (await auth.mail_tokens())[0]
    assert (await auth.post("email/verify", token=token, password=auth.password)).status_code == 200
    assert await auth.database.fetchval("select count(*) from users, tenants, memberships") == 1


@pytest.mark.parametrize("other", ["ANN@example.com", "ann@EXAMPLE.Com", "Ann@Example.com"])
async def test_knows_an_address_however_it_is_spelt(auth, other):
    await auth.somebody("Ann@example.com")
    await auth.register(other)
    assert await auth.database.fetchval("select count(*) from users") == 1
    assert (await auth.sign_in(other)).status_code == 200
    assert await auth.database.fetchval("select email from users") == "Ann@example.com"


async def test_knows_an_international_domain_in_both_its_forms(auth):
    await auth.somebody("ann@bäckerei.example")
    assert (await auth.sign_in("ann@xn--bckerei-5wa.example")).status_code == 200


async def test_takes_a_tagged_address_for_another_mailbox(auth):
    await auth.somebody()
    await auth.somebody("ann+shop@example.com")
    assert await auth.database.fetchval("select count(*) from users") == 2


async def test_gives_tenants_of_one_name_slugs_of_their_own(auth):
    await auth.register()
    await auth.register("bob@example.com")
    await auth.register("eve@example.com", tenant_name="面包店")
    slugs = [row["slug"] for row in await auth.database.fetch("select slug from tenants order by created_at")]
    assert slugs[0] == "ann-s-bakery"
    assert slugs[1].startswith("ann-s-bakery-")
    assert slugs[2] == "tenant"


async def test_lets_people_in_at_once_where_nothing_needs_confirming(start):
    auth = await start(require_email_verification=False)
    await auth.register()
    bundle = await auth.session()
    assert bundle["email_verified"] is False
    await auth.confirm()
    renewed = await auth.post("refresh", refresh_token=bundle["refresh_token"])
    assert renewed.json()["email_verified"] is True


@pytest.mark.parametrize(
    ("password", "code"),
    [
        ("fourteen chars", "password_too_short"),
        ("🥐" * 14, "password_too_short"),
        ("x1" * 129, "password_too_long"),
        ("passwordpassword", "password_too_weak"),
        ("1234567890123456", "password_too_weak"),
        ("aaaaaaaaaaaaaaaaaaaa", "password_too_weak"),
        ("Ann.Example-Acme-1", "password_too_weak"),
        ("Ann's Bakery Ann's Bakery", "password_too_weak"),
    ],
)
async def test_refuses_a_bad_password_and_says_why(auth, password, code):
    answer = await auth.register(password=password)
    assert (answer.status_code, answer.json()["code"]) == (422, code)
    assert password not in answer.text
    assert await auth.database.fetchval("select count(*) from users") == 0


@pytest.mark.parametrize(
    "password",
    [
        "correct horse battery staple",
        "fifteen-chars-!",
        "~!@#$%^&*()_+{}|:<>?",
        "Ünïcödé wörds 面包 🥐 ok",
        "".join(map(chr, range(0x4E00, 0x4F00))),
    ],
)
async def test_takes_any_characters_in_a_password(auth, password):
    await auth.somebody(password=password)


async def test_takes_a_password_in_either_unicode_form(auth):
    composed = unicodedata.normalize("NFC", "crème brûlée à la carte")
    decomposed = unicodedata.normalize("NFD", composed)
    await auth.somebody(password=decomposed)
    assert (await auth.sign_in(password=composed)).status_code == 200
    assert (await auth.sign_in(password=decomposed)).status_code == 200


async def test_hashes_a_password_whole_and_never_the_same_way_twice(start):
    auth = await start(**FULL_COST)
    await auth.somebody(password="a long beginning that is the same, " * 3 + "then this")
    assert (
        await auth.sign_in(password="a long beginning that is the same, " * 3 + "then that")
    ).status_code == 401
    await auth.somebody("bob@example.com")
    await auth.somebody("eve@example.com")
    hashes = [row[0] for row in await auth.database.fetch("select password_hash from users")]
    assert len(set(hashes)) == 3
    assert all("$argon2id$v=19$m=19456,t=2,p=1$" in stored_hash for stored_hash in hashes)


@pytest.mark.parametrize(
    "wrong",
    [
        {"email": "not an address"},
        {"email": "root@localhost"},
        {"email": "ann@example.com\nbcc: all@example.com"},
        {"email": "a" * 250 + "@example.com"},
        {"email": 7},
        {"email": None},
        {"password": ""},
        {"password": "x" * 1025},
        {"password": ["x"]},
        {"tenant_name": "A"},
        {"tenant_name": "  A  "},
        {"tenant_name": "A\u0000B"},
        {"tenant_name": "x" * 129},
        {"display_name": ""},
        {"display_name": "\u001b[31mred"},
        {"accept_terms": False},
        {"role": "owner"},
    ],
)
async def test_refuses_what_does_not_fit(auth, wrong):
    answer = await auth.register(**wrong)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("where", ["password", "tenant_name", "email"])
async def test_refuses_half_characters(auth, where):
    wanted = {"email": "ann@example.com", "tenant_name": "Ann", "password": "some words and some more"}
    body = json.dumps({**wanted, where: "a half \ud800 of a character"})
    answer = await auth.public.post(
        "/api/v1/auth/register", content=body, headers={"Content-Type": "application/json"}
    )
    assert answer.status_code in {400, 422}


async def test_remembers_that_the_terms_were_accepted(auth):
    await auth.register(accept_terms=True)
    assert await auth.database.fetchval("select terms_accepted_at from users") is not None
