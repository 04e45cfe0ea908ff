import json
from datetime import UTC, datetime, timedelta

import pytest
from auth.worker import ExpiryWorker

OWN = "/api/v1/auth/me/audit"
LOG = "/api/v1/auth/audit"


async def get(auth, path, bundle, **params):
    headers = {"Authorization": f"Bearer {bundle['access_token']}"}
    return await auth.public.get(path, params=params, headers=headers)


async def actions(auth, bundle, path=LOG, **params):
    answer = await get(auth, path, bundle, **params)
    assert answer.status_code == 200, answer.text
    return [event["action"] for event in answer.json()["items"]]


async def test_tells_what_happened_the_newest_first(auth):
    await auth.somebody()
    await auth.sign_in(password="some other words again")
    bundle = await auth.session()
    await auth.post("logout", refresh_token=bundle["refresh_token"])
    again = await auth.session()
    assert await actions(auth, again) == [
        "authn_login_success",
        "session_ended",
        "authn_login_successafterfail",
        "authn_login_success",
        "authn_login_fail",
        "authn_login_success",
        "user_email_verified",
        "user_created",
    ]


async def test_tells_who_from_where_and_in_which_request(auth):
    bundle = await auth.somebody()
    await auth.public.post(
        "/api/v1/auth/token",
        json={"email": "ann@example.com", "password": "some other words again"},
        headers={"X-Request-Id": "a-request-of-this-test", "X-Forwarded-For": "203.0.113.7"},
    )
    [event] = (await get(auth, LOG, bundle, action="authn_login_fail")).json()["items"]
    assert event["subject"] == bundle["user_id"]
    assert (event["actor"], event["request_id"]) == (None, "a-request-of-this-test")
    assert event["detail"] == {"reason": "wrong_password", "known_device": False}
    assert len(event["origin"]) == 16
    assert datetime.fromisoformat(event["happened_at"]).tzinfo
    assert "203.0.113.7" not in json.dumps(event)
    [entered] = (await get(auth, LOG, bundle, action="authn_login_success")).json()["items"]
    assert (entered["actor"], entered["session_id"]) == (bundle["user_id"], bundle["session_id"])
    assert entered["origin"] != event["origin"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("update users set status = 'disabled'", "may_not_enter"),
        ("update users set email_verified_at = null", "may_not_enter"),
        ("update users set password_hash = null", "wrong_password"),
    ],
)
async def test_tells_the_log_and_nobody_else_why_somebody_was_not_let_in(auth, change, reason):
    await auth.somebody()
    await auth.database.execute(change)
    assert (await auth.sign_in()).json()["code"] == "invalid_credentials"
    [event] = await auth.audited("authn_login_fail")
    assert json.loads(event["detail"])["reason"] == reason
    assert event["tenant_id"] is not None


async def test_writes_down_attempts_on_addresses_that_have_no_account_without_naming_them(auth):
    await auth.sign_in("stranger@example.com")
    [event] = await auth.audited("authn_login_fail")
    assert json.loads(event["detail"])["reason"] == "unknown_account"
    assert (event["subject"], event["tenant_id"]) == (None, None)
    assert "stranger" not in str(dict(event))


async def test_writes_down_a_token_that_came_again(auth):
    bundle = await auth.somebody()
    child = (await auth.refresh(bundle)).json()
    await auth.refresh(child)
    await auth.refresh(bundle)
    [event] = await auth.audited("authn_token_reuse")
    assert (event["subject"], str(event["session_id"])) == (bundle["user_id"], bundle["session_id"])
    [ended] = await auth.audited("session_ended")
    assert json.loads(ended["detail"]) == {"reason": "token_reused"}


async def test_shows_a_tenant_its_own_events_alone(auth):
    anns = await auth.somebody()
    bobs = await auth.somebody("bob@example.com")
    await auth.sign_in("bob@example.com", "some other words again")
    assert "authn_login_fail" not in await actions(auth, anns)
    assert "authn_login_fail" in await actions(auth, bobs)
    assert await actions(auth, anns, subject=bobs["user_id"]) == []
    exported = (await get(auth, f"{LOG}/export", anns)).text
    assert bobs["user_id"] not in exported


@pytest.mark.parametrize("path", [LOG, f"{LOG}/export"])
@pytest.mark.parametrize(
    ("role", "status"), [("viewer", 403), ("member", 403), ("admin", 200), ("owner", 200)]
)
async def test_is_for_administrators(auth, path, role, status):
    await auth.somebody()
    await auth.role("ann@example.com", role)
    assert (await get(auth, path, await auth.session())).status_code == status
    assert (await auth.public.get(path)).status_code == 401


async def test_shows_everybody_what_happened_to_themselves(auth):
    anns, bobs = await auth.somebody(), await auth.somebody("bob@example.com")
    await auth.role("ann@example.com", "viewer")
    viewer = await auth.session()
    assert await actions(auth, viewer, OWN) == [
        "authn_login_success",
        "authn_login_success",
        "user_email_verified",
        "user_created",
    ]
    subjects = {event["subject"] for event in (await get(auth, OWN, viewer)).json()["items"]}
    assert subjects == {anns["user_id"]} != {bobs["user_id"]}


async def test_gives_pages_that_neither_repeat_nor_leave_out(auth):
    bundle = await auth.somebody()
    for _ in range(3):
        bundle = await auth.session()
    whole = (await get(auth, LOG, bundle)).json()
    pages, cursor = [], None
    while True:
        page = (await get(auth, LOG, bundle, limit=2, **({"cursor": cursor} if cursor else {}))).json()
        pages.append(page["items"])
        if not (cursor := page["next_cursor"]):
            break
    assert [event for page in pages for event in page] == whole["items"]
    assert [len(page) for page in pages] == [2, 2, 2]


async def test_filters_by_action_subject_and_time(auth):
    bundle = await auth.somebody()
    await auth.session()
    assert await actions(auth, bundle, action="user_created", subject=bundle["user_id"]) == ["user_created"]
    [created] = (await get(auth, LOG, bundle, action="user_created")).json()["items"]
    at = created["happened_at"]
    assert "user_created" in await actions(auth, bundle, since=at)
    assert "user_created" not in await actions(auth, bundle, until=at)
    later = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    assert await actions(auth, bundle, since=later) == []


@pytest.mark.parametrize(
    ("params", "status", "code"),
    [
        ({"action": "nothing"}, 422, "invalid_request"),
        ({"subject": "x' or 1=1 --"}, 422, "invalid_request"),
        ({"since": "yesterday"}, 422, "invalid_request"),
        ({"since": "9273"}, 422, "invalid_request"),
        ({"since": "2026-01-31T00:00:00"}, 422, "invalid_request"),
        ({"since": "0001-01-01T00:00:00+14:00"}, 400, "invalid_timestamp"),
        ({"limit": "0"}, 422, "invalid_request"),
        ({"cursor": "x"}, 400, "invalid_cursor"),
        ({"cursor": "WyJ5ZXN0ZXJkYXkiLCJ4Il0"}, 400, "invalid_cursor"),
    ],
)
async def test_refuses_what_it_cannot_read(auth, params, status, code):
    answer = await get(auth, LOG, await auth.somebody(), **params)
    assert (answer.status_code, answer.json()["code"]) == (status, code)


async def test_exports_line_by_line_the_oldest_first(auth, monkeypatch):
    bundle = await auth.somebody()
    await auth.session()
    monkeypatch.setattr("auth.audit.read.EXPORT_PAGE", 2)
    monkeypatch.setattr("auth.audit.read.MAX_EXPORT", 6)
    answer = await get(auth, f"{LOG}/export", bundle)
    assert answer.headers["content-type"].startswith("application/x-ndjson")
    lines = [json.loads(line) for line in answer.content.splitlines()]
    assert lines == (await get(auth, LOG, bundle)).json()["items"][::-1]
    monkeypatch.setattr("auth.audit.read.MAX_EXPORT", 2)
    assert len((await get(auth, f"{LOG}/export", bundle)).content.splitlines()) == 2


async def test_keeps_no_line_from_a_name_that_would_break_it(auth):
    await auth.somebody(display_name='Ann "} {"action": "nothing"')
    await auth.public.post(
        "/api/v1/auth/token",
        json={"email": "ann@example.com", "password": auth.password},
        headers={"User-Agent": 'x\t"}{"\x1b[31m'},
    )
    exported = (await get(auth, f"{LOG}/export", await auth.session())).content
    assert len([json.loads(line) for line in exported.splitlines()]) == 5
    assert b"\x1b" not in exported


async def test_keeps_events_for_so_long_and_no_longer(auth):
    await auth.somebody()
    insert = (
        "insert into audit_events (id, action, detail, happened_at)"
        " values (gen_random_uuid(), $1, '{}', now() - make_interval(days => $2))"
    )
    await auth.database.execute(insert, "older", 31)
    await auth.database.execute(insert, "younger", 29)
    await ExpiryWorker(auth.app.state.resources.database, timedelta(days=30)).step()
    assert await auth.audited("older") == []
    assert len(await auth.audited("younger")) == 1
    assert len(await auth.audited("user_created")) == 1
