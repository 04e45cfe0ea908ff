"""Budgets that a tenant sets itself."""

from uuid import uuid4

import pytest
from testkit.app import client

NEW = {"unit": "tokens", "limit": 1000}


@pytest.fixture
def path(tenant):
    return f"/api/v1/billing/tenants/{tenant}/budgets"


async def test_a_budget_is_created_read_changed_and_deleted(admin, reader, path):
    created = await admin.post(path, json={**NEW, "scope": "user", "scope_id": "user:ann", "kind": "soft"})
    budget = created.json()
    assert created.status_code == 201
    assert (budget["limit"], budget["used"], budget["reserved"]) == ("1000", "0", "0")
    assert (budget["scope"], budget["interval"], budget["kind"]) == ("user", "month", "soft")
    one = f"{path}/{budget['id']}"
    assert (await reader.get(one)).json() == budget
    assert (await reader.get(path)).json() == {"items": [budget]}
    changed = (await admin.patch(one, json={"limit": "12.5"})).json()
    assert (changed["limit"], changed["kind"]) == ("12.5", "soft")
    assert changed["updated_at"] > budget["updated_at"]
    assert (await admin.delete(one)).status_code == 204
    gone = await admin.get(one)
    assert (gone.status_code, gone.json()["code"]) == (404, "budget_not_found")


async def test_there_is_one_budget_for_a_scope_unit_and_interval(admin, path):
    assert (await admin.post(path, json=NEW)).status_code == 201
    again = await admin.post(path, json={**NEW, "limit": 5})
    assert (again.status_code, again.json()["code"]) == (409, "budget_already_exists")
    assert (await admin.post(path, json={**NEW, "interval": "day"})).status_code == 201


@pytest.mark.parametrize(
    "wrong",
    [
        {"limit": 1.5},
        {"limit": -1},
        {"limit": "1e3x"},
        {"limit": "0.0000001"},
        {"limit": True},
        {"unit": "wishes"},
        {"scope": "user"},
        {"scope_id": "user:ann"},
        {"interval": "year"},
        {"colour": "red"},
    ],
)
async def test_what_is_no_budget_is_refused(admin, path, wrong):
    answer = await admin.post(path, json={**NEW, **wrong})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")


async def test_viewers_read_and_do_not_change(reader, path):
    assert (await reader.post(path, json=NEW)).status_code == 403
    assert (await reader.get(path)).json() == {"items": []}


async def test_other_tenants_have_no_budgets_here(admin, path, app, issuer):
    budget = (await admin.post(path, json=NEW)).json()
    for other in (path, f"{path}/{budget['id']}"):
        async with client(app, issuer.token(tenant_id=uuid4(), role="admin")) as stranger:
            answer = await stranger.get(other)
            assert (answer.status_code, answer.json()["code"]) == (404, "tenant_not_found")
    async with client(app, issuer.token(tenant_id=(other := uuid4()), role="admin")) as stranger:
        own = f"/api/v1/billing/tenants/{other}/budgets/{budget['id']}"
        assert (await stranger.delete(own)).json()["code"] == "budget_not_found"


async def test_a_replay_answers_no_other_tenant(app, issuer, tenant, path):
    """The same person, key and body with the token of another tenant: its own answer, or none."""
    key, person, other = {"Idempotency-Key": uuid4().hex}, f"user:{uuid4()}", uuid4()
    tokens = [issuer.token(tenant_id=of, subject=person, role="admin") for of in (tenant, other)]
    async with client(app, tokens[0], **key) as first, client(app, tokens[1], **key) as second:
        created = await first.post(path, json=NEW)
        again = await first.post(path, json=NEW)
        assert (again.json(), again.headers["idempotent-replayed"]) == (created.json(), "true")
        for method, address in (("POST", path), ("PATCH", f"{path}/{created.json()['id']}")):
            refused = await second.request(method, address, json=NEW)
            assert (refused.status_code, refused.json()["code"]) == (404, "tenant_not_found")
            assert "idempotent-replayed" not in refused.headers
        own = await second.post(path.replace(str(tenant), str(other)), json=NEW)
        assert own.status_code == 201
        assert own.json()["id"] != created.json()["id"]
        assert "idempotent-replayed" not in own.headers
