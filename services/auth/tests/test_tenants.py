import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from auth import cli
from auth.worker import ExpiryWorker

from .conftest import SESSION_OVER


def code(answer):
    return answer.status_code, answer.json()["code"]


async def status_events(auth):
    """The events of tenants' status, without those of their creation."""
    events = [event for event in await auth.events() if event["type"].startswith("auth.tenant.")]
    return [event for event in events if event["type"] != "auth.tenant.created.v1"]


async def another(auth, bundle, name="Second"):
    answer = await auth.ask("POST", "tenants", bundle, {"name": name})
    assert answer.status_code == 201, answer.text
    return answer.json()


async def test_who_makes_a_tenant_owns_it_and_finds_it_among_their_own(auth):
    bundle = await auth.somebody()
    made = await another(auth, bundle)
    assert (made["role"], made["status"], made["slug"]) == ("owner", "active", "second")
    listed = (await auth.ask("GET", "tenants", bundle)).json()["items"]
    assert [(one["name"], one["role"], one["status"]) for one in listed] == [
        ("Ann's Bakery", "owner", "active"),
        ("Second", "owner", "active"),
    ]
    [row] = await auth.audited("tenant_created")
    assert (str(row["tenant_id"]), row["actor"]) == (made["id"], bundle["user_id"])


async def test_lists_tenants_page_by_page(auth):
    bundle = await auth.somebody()
    names = ["Ann's Bakery", *[(await another(auth, bundle, f"Number {n}"))["name"] for n in range(4)]]
    tenants, query = [], "tenants?limit=2"
    while query:
        page = (await auth.ask("GET", query, bundle)).json()
        tenants += [one["name"] for one in page["items"]]
        query = page["next_cursor"] and f"tenants?limit=2&cursor={page['next_cursor']}"
    assert tenants == names


@pytest.mark.parametrize("path", ["tenants", "tenants/current/members", "tenants/current/invites"])
@pytest.mark.parametrize("cursor", ["x", "WyJ4IiwieSJd", "WzFd"])
async def test_refuses_a_forged_cursor(auth, path, cursor):
    bundle = await auth.somebody()
    assert code(await auth.ask("GET", f"{path}?cursor={cursor}", bundle)) == (400, "invalid_cursor")


async def test_nobody_makes_tenants_without_end(start):
    auth = await start(auth_rate_limits={"subject:tenants": 1})
    bundle = await auth.somebody()
    await another(auth, bundle)
    assert code(await auth.ask("POST", "tenants", bundle, {"name": "Third"})) == (429, "rate_limited")


async def test_a_tenant_gets_another_name_and_slug(auth):
    bundle = await auth.somebody()
    changed = await auth.ask("PATCH", "tenants/current", bundle, {"name": "Bread", "slug": "bread"})
    assert changed.status_code == 200
    now = (await auth.ask("GET", "tenants/current", bundle)).json()
    assert (now["name"], now["slug"], now["role"]) == ("Bread", "bread", "owner")
    await another(auth, bundle)
    assert code(await auth.ask("PATCH", "tenants/current", bundle, {"slug": "second"})) == (
        409,
        "slug_already_exists",
    )
    for bad in ("Ab", "-a", "a", "a" * 49, "a_b", "a\n"):
        assert code(await auth.ask("PATCH", "tenants/current", bundle, {"slug": bad})) == (
            422,
            "invalid_request",
        )


async def test_of_many_who_want_a_slug_at_once_one_gets_it(auth):
    people = [await auth.somebody(f"p{n}@example.com", tenant_name=f"Tenant {n}") for n in range(5)]
    answers = await asyncio.gather(
        *(auth.ask("PATCH", "tenants/current", one, {"slug": "wanted"}) for one in people)
    )
    assert sorted(answer.status_code for answer in answers) == [200, 409, 409, 409, 409]


@pytest.mark.parametrize("role", ["member", "viewer"])
async def test_members_without_the_right_change_nothing_of_the_tenant(auth, role):
    owner = await auth.somebody()
    low = await auth.joined(owner, "low@example.com", role)
    tag = (await auth.ask("GET", "tenants/current/settings", low)).headers["etag"]
    for method, path, body in (
        ("PATCH", "tenants/current", {"name": "Mine"}),
        ("PUT", "tenants/current/settings", {"default_locale": "de"}),
        ("POST", "tenants/current/suspend", None),
        ("DELETE", "tenants/current", None),
    ):
        answer = await auth.ask(method, path, low, body, **{"If-Match": tag})
        assert code(answer) == (403, "forbidden"), path


@pytest.mark.parametrize(
    ("method", "path"), [("POST", "tenants/current/suspend"), ("DELETE", "tenants/current")]
)
async def test_only_owners_close_a_tenant_also_when_their_token_says_otherwise(auth, method, path):
    owner = await auth.somebody()
    admin = await auth.joined(owner, "admin@example.com", "admin")
    assert code(await auth.ask(method, path, admin)) == (403, "role_too_low")
    # Narrowed to less than an owner, the owner is less.
    assert code(await auth.ask(method, path, owner, **{"X-Tenant-Role": "admin"})) == (403, "role_too_low")
    # The token is of before.
    await auth.joined(owner, "other@example.com", "owner")
    await auth.role("ann@example.com", "admin")
    assert code(await auth.ask(method, path, owner)) == (403, "role_too_low")


async def test_settings_are_replaced_by_who_has_seen_the_last_ones(auth):
    bundle = await auth.somebody()
    path = "tenants/current/settings"
    read = await auth.ask("GET", path, bundle)
    assert read.json() == {
        "default_locale": None,
        "invite_domains": [],
        "mfa_required": False,
        "orphaned_api_keys": "stop",
    }
    settings = {"default_locale": "de-AT", "invite_domains": ["Example.COM"]}
    assert code(await auth.ask("PUT", path, bundle, settings)) == (428, "precondition_required")
    put = await auth.ask("PUT", path, bundle, settings, **{"If-Match": read.headers["etag"]})
    assert put.json() == {
        **settings,
        "invite_domains": ["example.com"],
        "mfa_required": False,
        "orphaned_api_keys": "stop",
    }
    again = await auth.ask("GET", path, bundle)
    assert again.json() == put.json()
    assert again.headers["etag"] == put.headers["etag"] != read.headers["etag"]
    for old in (read.headers["etag"], f"W/{put.headers['etag']}", "2", "nonsense"):
        assert code(await auth.ask("PUT", path, bundle, settings, **{"If-Match": old})) == (
            412,
            "precondition_failed",
        ), old
    tags = f'"no", {put.headers["etag"]}'
    for good in (tags, "*"):
        assert (await auth.ask("PUT", path, bundle, settings, **{"If-Match": good})).status_code == 200


async def test_of_twenty_who_replace_the_same_settings_one_does(auth):
    bundle = await auth.somebody()
    tag = (await auth.ask("GET", "tenants/current/settings", bundle)).headers["etag"]
    answers = await asyncio.gather(
        *(
            auth.ask("PUT", "tenants/current/settings", bundle, {"default_locale": "de"}, **{"If-Match": tag})
            for _ in range(20)
        )
    )
    assert sorted(answer.status_code for answer in answers) == [200, *[412] * 19]


@pytest.mark.parametrize(
    "bad",
    [{"default_locale": "deutsch"}, {"invite_domains": ["no"]}, {"invite_domains": ["a@b.com"]}, {"x": 1}],
)
async def test_refuses_settings_that_make_no_sense(auth, bad):
    bundle = await auth.somebody()
    answer = await auth.ask("PUT", "tenants/current/settings", bundle, bad, **{"If-Match": "*"})
    assert code(answer) == (422, "invalid_request")


async def test_nobody_gets_into_a_suspended_tenant_until_an_owner_takes_it_up_again(auth):
    owner = await auth.somebody()
    member = await auth.joined(owner, "bob@example.com", "member")
    second = await another(auth, owner)
    assert (await auth.ask("POST", "tenants/current/suspend", owner)).status_code == 204
    assert code(await auth.refresh(member)) == (401, "invalid_refresh_token")
    assert code(await auth.sign_in("bob@example.com")) == (401, "invalid_credentials")
    assert code(await auth.sign_in(tenant_id=owner["tenant_id"])) == (401, "invalid_credentials")
    assert code(await auth.me(member["access_token"])) in SESSION_OVER
    assert code(await auth.ask("GET", "tenants/current", member)) in SESSION_OVER
    # The owner comes in by the other one.
    elsewhere = await auth.session()
    assert elsewhere["tenant_id"] == second["id"]
    listed = (await auth.ask("GET", "tenants", elsewhere)).json()["items"]
    assert [one["status"] for one in listed] == ["suspended", "active"]
    path = f"tenants/{owner['tenant_id']}/reactivate"
    answer = await auth.ask("POST", path, elsewhere)
    assert (answer.status_code, answer.json()["status"]) == (200, "active")
    assert (await auth.sign_in("bob@example.com")).status_code == 200
    assert [(event["type"], event["data"]) for event in await status_events(auth)] == [
        ("auth.tenant.suspended.v1", data(owner, 2)),
        ("auth.tenant.reactivated.v1", data(owner, 3)),
    ]
    assert len(await auth.audited("tenant_suspended")) == len(await auth.audited("tenant_reactivated")) == 1


def data(bundle, version):
    return f'{{"version": {version}, "tenant_id": "{bundle["tenant_id"]}"}}'


async def test_only_an_owner_of_it_takes_a_tenant_up_again(auth):
    owner = await auth.somebody()
    admin = await auth.joined(owner, "admin@example.com", "admin")
    await another(auth, admin, "The admin's")
    await auth.ask("POST", "tenants/current/suspend", owner)
    path = f"tenants/{owner['tenant_id']}/reactivate"
    assert code(await auth.ask("POST", path, await auth.session("admin@example.com"))) == (
        404,
        "tenant_not_found",
    )
    assert code(await auth.ask("POST", path, await auth.somebody("eve@example.com"))) == (
        404,
        "tenant_not_found",
    )


def environment(monkeypatch, auth):
    """Set the variables that a command of this service reads."""
    for name, value in {
        "DATABASE_URL": auth.settings.database_url.get_secret_value(),
        "REDIS_URL": auth.settings.redis_url.get_secret_value(),
        "AUTH_ISSUER": auth.settings.auth_issuer,
        "AUTH_JWKS_URL": auth.settings.auth_jwks_url,
        "AUTH_KEY_STORAGE_PATH": str(auth.settings.auth_key_storage_path),
        "ENVIRONMENT": "test",
        "DEBUG": "true",
    }.items():
        monkeypatch.setenv(name, value)
    for name, value in auth.settings:
        if hasattr(value, "get_secret_value"):
            monkeypatch.setenv(name.upper(), value.get_secret_value())


def run(monkeypatch, auth, *arguments):
    environment(monkeypatch, auth)
    return asyncio.to_thread(cli.main, ["tenants", *arguments])


async def test_an_operator_suspends_and_no_owner_undoes_it(auth, monkeypatch, capsys):
    owner = await auth.somebody()
    second = await another(auth, owner)
    assert await run(monkeypatch, auth, "suspend", "ann-s-bakery") == 0
    assert code(await auth.refresh(owner)) == (401, "invalid_refresh_token")
    elsewhere = await auth.session()
    path = f"tenants/{owner['tenant_id']}/reactivate"
    assert code(await auth.ask("POST", path, elsewhere)) == (403, "tenant_suspended_by_operator")
    assert await run(monkeypatch, auth, "list") == 0
    assert f"{owner['tenant_id']}  suspended  ann-s-bakery\n" in capsys.readouterr().out
    assert await run(monkeypatch, auth, "reactivate", owner["tenant_id"]) == 0
    assert (await auth.sign_in(tenant_id=owner["tenant_id"])).status_code == 200
    assert await run(monkeypatch, auth, "suspend", "nobody") == 1
    assert "Tenant not found" in capsys.readouterr().err
    assert [event["type"] for event in await status_events(auth)] == [
        "auth.tenant.suspended.v1",
        "auth.tenant.reactivated.v1",
    ]
    assert second["status"] == "active"


async def test_what_an_owner_suspended_an_operator_can_hold_closed(auth, monkeypatch):
    owner = await auth.somebody()
    await another(auth, owner)
    await auth.ask("POST", "tenants/current/suspend", owner)
    await run(monkeypatch, auth, "suspend", owner["tenant_id"])
    path = f"tenants/{owner['tenant_id']}/reactivate"
    assert code(await auth.ask("POST", path, await auth.session())) == (403, "tenant_suspended_by_operator")
    assert len(await status_events(auth)) == 1


async def test_a_deleted_tenant_is_closed_at_once_its_slug_free_and_its_rows_gone_when_it_is_time(
    auth, monkeypatch
):
    owner = await auth.somebody()
    member = await auth.joined(owner, "bob@example.com", "member")
    assert (await auth.ask("DELETE", "tenants/current", owner)).status_code == 204
    for bundle in (owner, member):
        assert code(await auth.refresh(bundle)) == (401, "invalid_refresh_token")
        assert code(await auth.ask("GET", "tenants/current", bundle)) in SESSION_OVER
    assert code(await auth.sign_in(tenant_id=owner["tenant_id"])) == (401, "invalid_credentials")
    eve = await auth.somebody("eve@example.com")
    assert (await auth.ask("GET", "tenants/current", eve)).json()["slug"] == "ann-s-bakery"
    [event] = await status_events(auth)
    assert event["type"] == "auth.tenant.deleted.v1"
    stored = await auth.database.fetchrow("select * from tenants where id = $1", owner["tenant_id"])
    assert timedelta(days=29) < stored["purge_after"] - datetime.now(UTC) < timedelta(days=31)

    await purge(auth)
    assert await auth.database.fetchval("select count(*) from tenants where status = 'deleted'") == 1
    await auth.database.execute("update tenants set purge_after = now() where status = 'deleted'")
    await purge(auth)
    assert not await auth.database.fetchval("select count(*) from tenants where id = $1", owner["tenant_id"])
    assert not await auth.database.fetchval(
        "select count(*) from memberships where tenant_id = $1", owner["tenant_id"]
    )
    assert await run(monkeypatch, auth, "reactivate", owner["tenant_id"]) == 1


async def purge(auth):
    await ExpiryWorker(auth.app.state.resources.database).step()


async def test_an_operator_brings_a_deleted_tenant_back_while_it_is_there(auth, monkeypatch):
    owner = await auth.somebody()
    await auth.ask("DELETE", "tenants/current", owner)
    assert await run(monkeypatch, auth, "reactivate", owner["tenant_id"]) == 0
    back = await auth.sign_in(tenant_id=owner["tenant_id"])
    slug = (await auth.ask("GET", "tenants/current", back.json())).json()["slug"]
    assert slug.startswith("ann-s-bakery-")
    await auth.database.execute("update tenants set purge_after = now()")
    await purge(auth)
    assert (await auth.sign_in(tenant_id=owner["tenant_id"])).status_code == 200


async def test_who_has_no_tenant_left_gets_one_when_they_sign_in(auth):
    owner = await auth.somebody(display_name="Ann")
    await auth.ask("DELETE", "tenants/current", owner)
    answers = await asyncio.gather(*(auth.sign_in() for _ in range(5)))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.json()["tenant_id"] for answer in answers}) == 1
    tenant = (await auth.ask("GET", "tenants/current", answers[0].json())).json()
    assert (tenant["name"], tenant["role"]) == ("Ann", "owner")


async def test_switching_gives_a_session_in_the_other_tenant_and_ends_the_one_before(auth):
    owner = await auth.somebody()
    member = await auth.joined(owner, "bob@example.com", "member")
    own = await another(auth, member, "Bob's")
    before = auth.claims(member)
    await auth.database.execute("update sessions set created_at = created_at - interval '1 hour'")
    answer = await auth.ask("POST", f"tenants/{own['id']}/switch", member)
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    after = auth.claims(answer.json())
    assert (after["tenant_id"], after["role"]) == (own["id"], "owner")
    assert after["sid"] != before["sid"]
    assert code(await auth.refresh(member)) == (401, "invalid_refresh_token")
    assert (await auth.refresh(answer.json())).status_code == 200
    # One session, one switch: the old access token begins no second one.
    assert code(await auth.ask("POST", f"tenants/{own['id']}/switch", member)) in SESSION_OVER
    [row] = await auth.audited("tenant_switched")
    assert str(row["session_id"]) == after["sid"]


async def test_switching_is_no_new_sign_in(auth):
    bundle = await auth.somebody()
    other = await another(auth, bundle)
    await auth.database.execute(
        "update sessions set authenticated_at = authenticated_at - interval '1 hour',"
        " expires_at = now() + interval '2 minutes'"
    )
    switched = (await auth.ask("POST", f"tenants/{other['id']}/switch", bundle)).json()
    claims = auth.claims(switched)
    assert claims["auth_time"] <= auth.claims(bundle)["auth_time"] - 3500
    assert claims["amr"] == auth.claims(bundle)["amr"]
    assert switched["device"] == bundle["device"]
    assert datetime.fromisoformat(switched["refresh_expires_at"]) < datetime.now(UTC) + timedelta(minutes=3)


@pytest.mark.parametrize("why", ["foreign", "unknown", "suspended", "deleted"])
async def test_nobody_switches_to_where_they_may_not_come_in(auth, monkeypatch, why):
    bundle = await auth.somebody()
    other = await auth.somebody("bob@example.com") if why == "foreign" else {}
    target = other.get("tenant_id", "00000000-0000-4000-8000-000000000000")
    if why in {"suspended", "deleted"}:
        target = (await another(auth, bundle))["id"]
        await auth.database.execute("update tenants set status = $1 where id = $2", why, target)
    assert code(await auth.ask("POST", f"tenants/{target}/switch", bundle)) == (404, "tenant_not_found")
    assert (await auth.refresh(bundle)).status_code == 200


@pytest.mark.parametrize("change", ["update users set status = 'disabled'", "delete from users"])
async def test_a_token_without_an_account_in_use_opens_nothing(auth, change):
    bundle = await auth.somebody()
    await auth.database.execute(change)
    for method, path, body in (
        ("POST", "tenants", {"name": "Second"}),
        ("GET", "tenants/current", None),
        ("POST", "invites/accept", {"token": "x"}),
    ):
        assert code(await auth.ask(method, path, bundle, body)) in SESSION_OVER, path
