"""What changes money or limits: who may do it, with which proof and key, and what the audit log has of it."""

import json
import time
from uuid import uuid4

import pytest
from billing_webhook.audit import ROUTES, TENANT
from billing_webhook.entitlements import grants
from billing_webhook.models import Command
from billing_webhook.stripe_events.replay import Replay, Selection, replay
from billing_webhook.subscriptions import commands
from pydantic import SecretStr
from servicekit.auth.dependencies import every_route
from sqlalchemy import update
from testkit.app import client

from .sandbox_stripe import KEY

CALL = "/internal/v1/tenants/{tenant_id}/reservations/{run_id}/calls/{call}"
# What changes something and is not in the audit log.
EXCEPTIONS = {
    f"POST {TENANT}/subscription/preview": "computes what a change would cost, and changes nothing",
    f"PUT {CALL}": "a run reserves what it may use, which its record in the ledger shows in the end",
    f"POST {CALL}/settle": "a run gives back what it has not used",
    "POST /webhooks/stripe": "Stripe says what it has done; nobody of the tenant acts",
}
SUBSCRIPTION = f"{TENANT}/subscription"
FRESH_PROOF = {
    f"POST {SUBSCRIPTION}",
    f"PATCH {SUBSCRIPTION}",
    f"POST {SUBSCRIPTION}/cancel",
    f"POST {SUBSCRIPTION}/pause",
    f"POST {SUBSCRIPTION}/resume",
    f"POST {TENANT}/checkout-sessions",
    f"POST {TENANT}/portal-sessions",
}
# The seed has the key of usage in the body.
KEY_IN_BODY = {
    f"POST {TENANT}/usage",
    f"POST {TENANT}/usage/batch",
    f"POST {TENANT}/usage/records/{{record_id}}/reverse",
}
STARTER = {"plan_code": "starter", "billing_email": "owner@example.com"}
PAGES = {"success_url": "https://app.example.com/yes", "cancel_url": "https://app.example.com/no"}
BUDGET = {"unit": "tokens", "limit": 1000}


def usage(**changes):
    return {"feature_key": "messages", "quantity": 3, "idempotency_key": str(uuid4()), **changes}


# In an order in which each can be done.
BODIES = [
    (f"POST {SUBSCRIPTION}", STARTER),
    (f"PATCH {SUBSCRIPTION}", {"seat_count": 2}),
    (f"POST {SUBSCRIPTION}/pause", {}),
    (f"POST {SUBSCRIPTION}/resume", {}),
    (f"POST {TENANT}/portal-sessions", {"return_url": "https://app.example.com"}),
    (f"POST {SUBSCRIPTION}/cancel", {"at_period_end": False}),
    (f"POST {TENANT}/checkout-sessions", {"plan_code": "starter", **PAGES}),
    (f"POST {TENANT}/budgets", BUDGET),
    (f"PATCH {TENANT}/budgets/{{budget_id}}", {"limit": 2000}),
    (f"DELETE {TENANT}/budgets/{{budget_id}}", None),
    (f"POST {TENANT}/usage", usage()),
    (f"POST {TENANT}/usage/batch", {"items": [usage(), usage()]}),
    (f"POST {TENANT}/usage/records/{{record_id}}/reverse", {"idempotency_key": str(uuid4())}),
]


@pytest.fixture
def settings(settings, sandbox):
    sandbox.clear()
    changes = {
        "stripe_secret_key": SecretStr(KEY),
        "stripe_api_base": sandbox.url,
        "auth_step_up_minutes": 15,
    }
    return settings.model_copy(update=changes)


@pytest.fixture
def portal(sandbox):
    """Configure the portal, as `stripe setup` does."""
    features = {"invoice_history": {"enabled": True}}
    sandbox.client.v1.billing_portal.configurations.create({"features": features})


@pytest.fixture
def caller():
    return {"subject": f"user:{uuid4()}", "sid": str(uuid4())}


@pytest.fixture
async def owner(app, issuer, tenant, caller):
    async with client(app, issuer.token(tenant_id=tenant, **caller)) as http:
        http.headers["X-Request-Id"] = "a-request-of-this-test"
        yield http


@pytest.fixture
def recorded(rows, tenant):
    """Return what the audit log is to know of the tenant, the oldest first."""

    async def read():
        query = "select data from outbox where type = 'billing.audit.recorded.v1' and tenant_id = :id"
        return [row.data for row in await rows(f"{query} order by seq", id=tenant)]

    return read


@pytest.fixture
def send(tenant):
    """Send a request to a route; what earlier answers had the id of is in `ids`."""

    async def request(http, route, body, ids, **headers):
        method, path = route.split()
        url = path.format(tenant_id=tenant, **ids)
        answer = await http.request(method, url, json=body, headers=headers)
        if answer.is_success and route == f"POST {TENANT}/budgets":
            ids["budget_id"] = answer.json()["id"]
        if answer.is_success and route == f"POST {TENANT}/usage":
            ids["record_id"] = answer.json()["id"]
        return answer

    return request


def mutating_routes(app):
    for part in (app, app.state.internal):
        for route in every_route(part.routes):
            yield from (f"{method} {route.path}" for method in set(route.methods or ()) - {"GET", "HEAD"})


async def test_every_route_that_changes_something_is_in_the_audit_log_or_is_an_exception(app):
    assert set(mutating_routes(app)) == {*ROUTES, *EXCEPTIONS}
    assert not ROUTES.keys() & EXCEPTIONS
    assert [route for route, _ in BODIES] == sorted(ROUTES, key=[route for route, _ in BODIES].index)


async def test_each_of_them_records_who_did_what_in_which_session_and_request(
    owner, caller, portal, send, recorded, tenant, rows
):
    ids = {}
    for count, (route, body) in enumerate(BODIES):
        answer = await send(owner, route, body, ids)
        assert answer.is_success, (route, answer.text)
        [event] = (await recorded())[count:]
        assert event.pop("detail") is not None
        assert event == {
            "tenant_id": str(tenant),
            "action": ROUTES[route],
            "actor": caller["subject"],
            "session_id": caller["sid"],
            "request_id": "a-request-of-this-test",
        }, route
    text = json.dumps(await recorded())
    assert "owner@example.com" not in text
    assert "https://" not in text
    # It takes another permission than the tenant's stream of billing events.
    assert await rows("select 1 from billing_events where type like '%audit%'") == []


async def test_it_records_what_has_changed_and_from_what(owner, send, recorded):
    ids = {}
    for route, body in BODIES[:2] + BODIES[7:11]:
        await send(owner, route, body, ids)
    started, changed, created, limited, _, reported = [event["detail"] for event in await recorded()]
    assert (started["plan_code"], started["billing_email_changed"]) == ("starter", True)
    assert (changed["seat_count"], changed["before"]["seats"]) == (2, 1)
    assert (created["limit"], created["unit"], created["scope"]) == ("1000", "tokens", "tenant")
    assert (limited["limit"], limited["before"]) == ("2000", {"limit": "1000", "kind": "hard"})
    assert reported == {"records": 1, "quantities": {"messages": "3"}}


@pytest.mark.parametrize("role", ["viewer", "member"])
async def test_it_takes_an_owner_or_an_admin(app, issuer, tenant, send, recorded, role):
    ids = {"budget_id": uuid4(), "record_id": uuid4()}
    async with client(app, issuer.token(tenant_id=tenant, role=role)) as http:
        for route, body in BODIES:
            answer = await send(http, route, body, ids)
            assert (answer.status_code, answer.json()["code"]) == (403, "forbidden"), route
    assert await recorded() == []


async def test_what_costs_money_at_once_takes_a_fresh_proof(app, issuer, tenant, send, recorded):
    ids = {"budget_id": uuid4(), "record_id": uuid4()}
    refused = set()
    async with client(app, issuer.token(tenant_id=tenant, auth_time=int(time.time()) - 901)) as http:
        for route, body in BODIES:
            answer = await send(http, route, body, ids)
            if not answer.is_success and answer.json()["code"] == "insufficient_user_authentication":
                refused.add(route)
    assert refused == FRESH_PROOF
    assert not {event["action"] for event in await recorded()} & {ROUTES[route] for route in FRESH_PROOF}


async def test_each_post_takes_an_idempotency_key(app):
    paths = app.openapi()["paths"]
    posts = {route for route in ROUTES if route.startswith("POST")}

    def takes_header(route):
        _, path = route.split()
        return "Idempotency-Key" in {one["name"] for one in paths[path]["post"].get("parameters", [])}

    assert {route for route in posts if takes_header(route)} == posts - KEY_IN_BODY
    assert posts > KEY_IN_BODY


async def test_a_repeated_request_has_one_effect_and_one_row(owner, send, recorded):
    ids, count = {}, 0
    repeated = {f"POST {SUBSCRIPTION}", f"POST {TENANT}/budgets", *KEY_IN_BODY}
    for route, body in BODIES:
        if route not in repeated:
            continue
        key = {"Idempotency-Key": str(uuid4())}
        first = await send(owner, route, body, ids, **key)
        again = await send(owner, route, body, ids, **key)
        assert first.is_success, (route, first.text)
        if route != f"POST {TENANT}/usage/batch":
            assert (again.json(), again.headers["Idempotent-Replayed"]) == (first.json(), "true"), route
        count += 1
        assert len(await recorded()) == count, route


async def test_a_repeated_portal_session_is_the_same_page_for_the_same_caller_alone(
    app, issuer, tenant, owner, portal, send
):
    route, body = BODIES[4]
    await send(owner, *BODIES[0], {})
    key = {"Idempotency-Key": str(uuid4())}
    first = await send(owner, route, body, {}, **key)
    again = await send(owner, route, body, {}, **key)
    assert first.json()["url"] == again.json()["url"]
    other = await send(owner, route, {"return_url": "https://elsewhere.example.com"}, {}, **key)
    assert (other.status_code, other.json()["code"]) == (409, "idempotency_conflict")
    async with client(app, issuer.token(tenant_id=tenant)) as another:
        theirs = await send(another, route, body, {}, **key)
    assert theirs.json()["url"] != first.json()["url"]
    assert (await send(owner, route, body, {})).json()["url"] != first.json()["url"]


async def test_what_fails_is_not_recorded(owner, send, recorded, sandbox):
    assert (await send(owner, f"POST {TENANT}/budgets", BUDGET, {})).status_code == 201
    assert (await send(owner, f"POST {TENANT}/budgets", BUDGET, {})).status_code == 409
    sandbox.fail(method="POST", path="/v1/subscriptions", kind="error", status=400, count=1)
    assert (await send(owner, f"POST {SUBSCRIPTION}", STARTER, {})).status_code == 502
    assert [event["action"] for event in await recorded()] == ["billing_budget_created"]


async def test_what_the_worker_finishes_is_recorded_once_as_the_request_of_its_sender(
    app, owner, caller, send, recorded, sandbox, until
):
    # For the worker, too, which sends the command again after two seconds.
    sandbox.fail(method="POST", path="/v1/subscriptions", kind="error", status=503, count=1000)
    assert (await send(owner, f"POST {SUBSCRIPTION}", STARTER, {})).status_code == 503
    assert await recorded() == []
    sandbox.clear()

    async def finished():
        async with app.state.resources.database.begin() as db:
            await db.execute(update(Command).values(next_attempt_at=Command.created_at))
        await commands.finish_next(app.state.billing)
        return await recorded()

    [event] = await until(finished)
    assert (event["actor"], event["session_id"]) == (caller["subject"], caller["sid"])
    assert event["request_id"] == "a-request-of-this-test"


async def test_what_a_machine_reports_is_in_the_ledger_alone_and_what_it_limits_in_the_log(
    app, issuer, tenant, send, recorded
):
    token = issuer.service_token(
        "sa.export.1", audience="acme-api", scope="billing:manage", tenant_id=str(tenant), role="admin"
    )
    ids = {}
    async with client(app, token) as http:
        for route, body in BODIES[7:]:
            assert (await send(http, route, body, ids)).is_success, route
    assert [(event["action"], event["actor"]) for event in await recorded()] == [
        ("billing_budget_created", "service:sa.export.1"),
        ("billing_budget_changed", "service:sa.export.1"),
        ("billing_budget_deleted", "service:sa.export.1"),
        ("billing_usage_reversed", "service:sa.export.1"),
    ]


async def test_what_an_operator_grants_and_revokes_is_recorded_without_their_name(app, tenant, recorded):
    what = {"limit": None, "priority": 0, "expires_at": None, "reason": "a pilot", "granted_by": "root"}
    async with app.state.resources.database.begin() as db:
        grant = await grants.create(db, tenant, "messages", **what)
    async with app.state.resources.database.begin() as db:
        await grants.revoke(db, grant.id)
    created, revoked = await recorded()
    assert (created["action"], created["actor"]) == ("billing_grant_created", None)
    assert created["detail"] == {
        "source": "operator",
        "grant_id": str(grant.id),
        "feature": "messages",
        "limit": None,
        "expires_at": None,
    }
    assert revoked == {**created, "action": "billing_grant_revoked"}


async def test_what_an_operator_forces_again_is_recorded_for_the_tenants_concerned(
    app, tenant, post_event, make_event, execute, recorded
):
    event = make_event()
    assert (await post_event(event)).status_code == 202
    change = "update stripe_dispatches set status = 'completed', tenant_id = :tenant where event_id = :id"
    await execute(change, tenant=tenant, id=event["id"])
    database = app.state.resources.database
    async with database.begin() as db:
        ids = await replay(db, Selection(event_id=event["id"]), Replay("root", "a test", force=True))
    [row] = await recorded()
    assert (row["action"], row["actor"]) == ("billing_events_replayed", None)
    assert row["detail"] == {"source": "operator", "dispatches": len(ids)}
