"""Every route of tenants, asked with the ids of another tenant."""

import pytest
from auth.main import create_app
from servicekit.auth.dependencies import every_route

OTHERS = {
    ("PATCH", "tenants/current/members/{user_id}"): ("member_not_found", {"role": "viewer"}),
    ("DELETE", "tenants/current/members/{user_id}"): ("member_not_found", None),
    ("POST", "tenants/current/members/{user_id}/password-reset"): ("member_not_found", None),
    ("POST", "tenants/current/members/{user_id}/second-factor-reset"): ("member_not_found", None),
    ("DELETE", "tenants/current/members/{user_id}/sessions"): ("member_not_found", None),
    ("DELETE", "tenants/current/invites/{invite_id}"): ("invite_not_found", None),
    ("POST", "tenants/current/invites/{invite_id}/resend"): ("invite_not_found", None),
    ("POST", "tenants/{tenant_id}/switch"): ("tenant_not_found", None),
    ("POST", "tenants/{tenant_id}/reactivate"): ("tenant_not_found", None),
}
NOBODY = "00000000-0000-4000-8000-000000000000"


@pytest.fixture
async def theirs(auth):
    """The ids of another tenant: of itself, its owner and an invite."""
    eve = await auth.somebody("eve@example.com", tenant_name="Eve's")
    fields = {"email": "someone@example.com", "role": "member"}
    invite = (await auth.ask("POST", "tenants/current/invites", eve, fields)).json()
    return {"tenant_id": eve["tenant_id"], "user_id": eve["user_id"][5:], "invite_id": invite["id"]}


async def test_every_route_that_takes_an_id_is_tested_here(auth):
    app = create_app(auth.settings)
    routes = {
        (method, route.path.removeprefix("/api/v1/auth/"))
        for route in every_route(app.routes)
        if route.path.startswith("/api/v1/auth/tenants") and "{" in route.path
        for method in route.methods or ()
    }
    assert routes == OTHERS.keys()


@pytest.mark.parametrize(("method", "path"), OTHERS)
async def test_what_belongs_to_another_tenant_is_not_there(auth, theirs, method, path):
    ann = await auth.somebody()
    expected, body = OTHERS[method, path]
    answers = [
        await auth.ask(method, path.format(**ids), ann, body)
        for ids in (theirs, dict.fromkeys(theirs, NOBODY))
    ]
    for answer in answers:
        assert (answer.status_code, answer.json()["code"]) == (404, expected)
    # Word for word what is said of what does not exist.
    assert len({answer.json()["detail"] for answer in answers}) == 1
    assert await auth.database.fetchval("select count(*) from invites where revoked_at is not null") == 0
    assert await auth.database.fetchval("select count(*) from memberships where role = 'owner'") == 2


async def test_lists_show_nothing_of_other_tenants(auth, theirs):
    ann = await auth.somebody()
    for path in ("tenants", "tenants/current/members", "tenants/current/invites"):
        text = (await auth.ask("GET", path, ann)).text
        assert "ann" in text or text.startswith('{"items":[]')
        assert not [value for value in theirs.values() if value in text], path


async def test_a_cursor_of_another_tenants_list_shows_none_of_it(auth):
    eve = await auth.somebody("eve@example.com")
    for n in range(2):
        await auth.joined(eve, f"p{n}@example.com", "member")
    cursor = (await auth.ask("GET", "tenants/current/members?limit=1", eve)).json()["next_cursor"]
    ann = await auth.somebody()
    items = (await auth.ask("GET", f"tenants/current/members?cursor={cursor}", ann)).json()["items"]
    assert {one["email"] for one in items} <= {"ann@example.com"}


async def test_a_header_opens_no_other_tenant(auth, theirs):
    ann = await auth.somebody()
    headers = {"X-Tenant-Id": theirs["tenant_id"]}
    for path in ("tenants/current", "tenants/current/members", "tenants"):
        answer = await auth.ask("GET", path, ann, **headers)
        assert (answer.status_code, answer.json()["code"]) == (403, "tenant_mismatch")


@pytest.mark.parametrize(
    ("role", "expected"),
    [("owner", 200), ("viewer", 403), ("root", 400), ("", 400), ("viewer, owner", 400)],
)
async def test_the_header_of_the_role_takes_away_alone(auth, role, expected):
    ann = await auth.somebody()
    answer = await auth.ask("PATCH", "tenants/current", ann, {"name": "Other"}, **{"X-Tenant-Role": role})
    assert answer.status_code == expected
