"""Subscriptions at the sandbox's Stripe, by the official SDK over a real socket."""

import asyncio
import time
from datetime import UTC, datetime
from uuid import uuid4

import pytest
from billing_webhook.events import AuditRecorded
from billing_webhook.main import create_app
from billing_webhook.models import Command, Invoice, Subscription
from billing_webhook.services import BillingServices
from billing_webhook.subscriptions import commands
from pydantic import SecretStr
from servicekit.events.outbox import outbox
from sqlalchemy import delete, select, update
from testkit.app import client, running

from .sandbox_stripe import KEY

STARTER = {"plan_code": "starter", "billing_email": "owner@example.com", "auto_renew": True}


@pytest.fixture
def settings(settings, sandbox):
    sandbox.clear()
    changes = {
        "enable_billing": True,
        "stripe_secret_key": SecretStr(KEY),
        "stripe_api_base": sandbox.url,
        "auth_step_up_minutes": 15,
    }
    return settings.model_copy(update=changes)


@pytest.fixture
def services(app) -> BillingServices:
    return app.state.billing


@pytest.fixture
def customer(sandbox, tenant):
    """Return the tenant's one customer."""

    def find():
        (one,) = sandbox.customers_of(tenant)
        return one

    return find


@pytest.fixture
def at_stripe(sandbox, customer):
    """Return the tenant's one subscription at Stripe."""

    def find():
        (one,) = sandbox.subscriptions(customer().id)
        return one

    return find


async def ok(response, status=200):
    assert response.status_code == status, response.text
    return response.json()


async def start(owner, **changes):
    return await ok(await owner.post("subscription", json={**STARTER, **changes}), 201)


async def test_starts_with_the_trial_of_the_plan(owner, at_stripe, customer, tenant):
    before = await ok(await owner.get("subscription"))
    assert (before["plan_code"], before["status"], before["access"]) == ("free", "active", "full")
    begun = await start(owner, seat_count=3)
    assert (begun["plan_code"], begun["status"], begun["seat_count"]) == ("starter", "trialing", 3)
    assert (begun["billing_email"], begun["auto_renew"]) == ("owner@example.com", True)
    assert begun["trial_end"] == begun["current_period_end"]
    subscription = at_stripe()
    assert subscription.trial_end - subscription.created == 7 * 86400
    assert subscription.metadata.to_dict()["tenant_id"] == str(tenant)
    assert customer().email == "owner@example.com"
    assert await ok(await owner.get("subscription")) == begun


async def test_a_repeated_start_is_one_subscription(owner, at_stripe):
    """A client's second attempt once made a second subscription at Stripe: no idempotency key was sent."""
    headers = {"Idempotency-Key": str(uuid4())}
    first = await owner.post("subscription", json=STARTER, headers=headers)
    again = await owner.post("subscription", json=STARTER, headers=headers)
    assert await ok(first, 201) == await ok(again, 201)
    assert again.headers["Idempotent-Replayed"] == "true"
    other = await owner.post("subscription", json={**STARTER, "plan_code": "pro"}, headers=headers)
    assert (other.status_code, other.json()["code"]) == (409, "idempotency_conflict")
    without = await owner.post("subscription", json=STARTER)
    assert (without.status_code, without.json()["code"]) == (409, "subscription_already_exists")
    assert at_stripe().status == "trialing"


async def test_many_starts_at_once_are_one_subscription(owner, at_stripe):
    answers = await asyncio.gather(*(owner.post("subscription", json=STARTER) for _ in range(8)))
    assert {answer.status_code for answer in answers} <= {201, 409, 503}
    assert 201 in {answer.status_code for answer in answers}
    assert at_stripe().status == "trialing"


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "drop", "worked": True, "count": 3},
        {"kind": "error", "status": 500, "worked": True, "stored": True, "count": 3},
        {"kind": "error", "status": 503, "count": 3},
        {"kind": "error", "status": 429, "count": 1},
    ],
    ids=["answer-lost", "stored-500", "unavailable", "rate-limited"],
)
@pytest.mark.parametrize("path", ["/v1/customers", "/v1/subscriptions"])
async def test_whatever_fails_the_worker_finishes_it_once(
    path, fault, sandbox, owner, services, at_stripe, until
):
    """Stripe was once changed before the database, and a crash between left them different for ever."""
    sandbox.fail(method="POST", path=path, **fault)
    refused = await owner.post("subscription", json=STARTER)
    # Of a lost answer the SDK's next attempt gets the stored one.
    if refused.status_code != 201:
        assert (refused.status_code, refused.json()["code"]) == (503, "stripe_unavailable"), refused.text
        assert refused.headers["Retry-After"]
    sandbox.clear()

    async def begun():
        async with services.database.begin() as db:
            await db.execute(update(Command).values(next_attempt_at=Command.created_at))
        await commands.finish_next(services)
        return (await owner.get("subscription")).json()["plan_code"] == "starter"

    assert await until(begun)
    assert at_stripe().status == "trialing"


async def test_after_a_day_a_command_looks_for_what_it_has_created(
    sandbox, owner, services, tenant, at_stripe
):
    sandbox.fail(method="POST", path="/v1/subscriptions", kind="drop", worked=True, count=3)
    await owner.post("subscription", json=STARTER)
    sandbox.clear()
    # As if the process had died before it could store what it has read.
    async with services.database.begin() as db:
        await db.execute(delete(Subscription).where(Subscription.tenant_id == tenant))
        row = await db.scalar(select(Command).where(Command.tenant_id == tenant))
        row.state = "pending"
        row.created_at -= commands.KEY_LIFETIME * 2
        row.error = None
    async with services.database.begin() as db:
        row = await db.scalar(select(Command).where(Command.tenant_id == tenant))
    assert (await commands.execute(services, row)).state == "succeeded"
    assert at_stripe().status == "trialing"
    assert (await owner.get("subscription")).json()["plan_code"] == "starter"


async def test_a_second_command_waits_for_the_first(sandbox, owner):
    # For the worker, too, which sends the first one again after two seconds.
    sandbox.fail(method="POST", path="/v1/subscriptions", kind="error", status=503, count=1000)
    await owner.post("subscription", json=STARTER)
    other = await owner.post("subscription", json={**STARTER, "plan_code": "starter", "seat_count": 2})
    assert (other.status_code, other.json()["code"]) == (409, "subscription_command_in_progress")
    assert other.headers["Retry-After"]


async def test_a_second_subscription_has_no_trial_and_needs_a_card(owner, sandbox, customer):
    await start(owner)
    ended = await ok(await owner.post("subscription/cancel", json={"at_period_end": False}))
    assert (ended["plan_code"], ended["status"]) == ("free", "active")
    missing = await owner.post("subscription", json=STARTER)
    assert (missing.status_code, missing.json()["code"]) == (402, "payment_method_missing"), missing.text
    sandbox.add_card(customer().id, "pm_card_chargeCustomerFail")
    declined = await owner.post("subscription", json=STARTER)
    assert (declined.status_code, declined.json()["code"]) == (402, "payment_declined"), declined.text
    assert declined.json()["stripe_code"] == "card_declined"
    assert declined.json()["decline_code"]
    sandbox.add_card(customer().id)
    # Stripe's times are in seconds: an invoice of the same second may come before this one.
    sandbox.advance(hours=1 / 3600)
    again = await start(owner)
    assert (again["status"], again["trial_end"]) == ("active", None)
    [invoice] = (await ok(await owner.get("invoices")))["items"][:1]
    assert (invoice["status"], invoice["amount_paid"], invoice["currency"]) == ("paid", 1900, "eur")
    assert invoice["invoice_pdf"]
    assert await ok(await owner.get(f"invoices/{invoice['id']}")) == invoice
    assert len([one for one in sandbox.subscriptions(customer().id) if one.status == "active"]) == 1


async def test_links_of_invoices_are_renewed_when_they_are_read(owner, sandbox, customer, services):
    """Stripe's links expire after a month or more; an old invoice was once returned with dead ones."""
    await start(owner)
    sandbox.add_card(customer().id)

    async def invoices():
        [invoice, *_] = (await ok(await owner.get("invoices")))["items"]
        assert await ok(await owner.get(f"invoices/{invoice['id']}")) == invoice
        return invoice

    fresh = await invoices()
    expired = {"hosted_invoice_url": "https://expired.example", "invoice_pdf": "https://expired.example/pdf"}
    async with services.database.begin() as db:
        await db.execute(update(Invoice).values(**expired))
    assert await invoices() == fresh
    sandbox.fail(kind="error", status=500, method="GET", path="/v1/invoices", count=2)
    assert await invoices() == {**fresh, **expired}


async def test_seats_and_renewal_change(owner, sandbox, customer, at_stripe):
    """The SDK's method `items` was once taken for the items: none was found, and no seat ever changed."""
    await start(owner)
    sandbox.add_card(customer().id)
    sandbox.advance(days=8)
    changed = await ok(
        await owner.patch("subscription", json={"seat_count": 5, "billing_email": "b@example.com"})
    )
    assert (changed["seat_count"], changed["status"]) == (5, "active")
    assert changed["billing_email"] == customer().email == "b@example.com"
    assert at_stripe()["items"].data[0].quantity == 5
    ends = await ok(await owner.patch("subscription", json={"auto_renew": False}))
    assert (ends["auto_renew"], at_stripe().cancel_at_period_end) == (False, True)
    many = await owner.patch("subscription", json={"seat_count": 5000})
    assert (many.status_code, many.json()["code"], many.json()["most"]) == (422, "seat_limit_exceeded", 10)
    assert (await owner.patch("subscription", json={})).status_code == 422
    unknown = await owner.patch("subscription", json={"plan_code": "gold"})
    assert (unknown.status_code, unknown.json()["code"]) == (422, "plan_not_found")


async def test_a_change_that_is_not_paid_changes_nothing(owner, sandbox, customer, at_stripe):
    await start(owner)
    sandbox.add_card(customer().id)
    sandbox.advance(days=8)
    sandbox.add_card(customer().id, "pm_card_chargeCustomerFail")
    declined = await owner.patch("subscription", json={"seat_count": 5})
    assert (declined.status_code, declined.json()["code"]) == (402, "payment_declined"), declined.text
    assert at_stripe()["items"].data[0].quantity == 1
    assert (await owner.get("subscription")).json()["seat_count"] == 1


async def test_previews_what_a_change_costs(owner, sandbox, customer, at_stripe):
    missing = await owner.post("subscription/preview", json={"seat_count": 2})
    assert (missing.status_code, missing.json()["code"]) == (404, "subscription_not_found")
    await start(owner)
    sandbox.add_card(customer().id)
    sandbox.advance(days=8)
    preview = await ok(await owner.post("subscription/preview", json={"seat_count": 3}))
    assert preview["currency"] == "eur"
    assert any(line["is_proration"] and line["amount"] > 0 for line in preview["lines"])
    assert at_stripe()["items"].data[0].quantity == 1
    upcoming = await ok(await owner.get("upcoming-invoice"))
    assert upcoming["total"] == 1900


async def test_cancels_at_the_end_and_resumes(owner, at_stripe):
    await start(owner)
    nothing = await owner.post("subscription/resume")
    assert (nothing.status_code, nothing.json()["code"]) == (409, "subscription_not_resumable")
    ends = await ok(await owner.post("subscription/cancel"))
    assert (ends["auto_renew"], ends["status"], at_stripe().cancel_at_period_end) == (False, "trialing", True)
    resumed = await ok(await owner.post("subscription/resume"))
    assert (resumed["auto_renew"], at_stripe().cancel_at_period_end) == (True, False)


async def test_pauses_and_resumes(owner, sandbox, at_stripe):
    await start(owner)
    later = datetime.fromtimestamp(sandbox.now() + 86400, UTC).isoformat()
    paused = await ok(await owner.post("subscription/pause", json={"resumes_at": later}))
    assert (paused["is_paused"], paused["access"]) == (True, "read_only")
    assert at_stripe().pause_collection.behavior == "void"
    resumed = await ok(await owner.post("subscription/resume"))
    assert (resumed["is_paused"], resumed["access"], at_stripe().pause_collection) == (False, "full", None)


async def test_lists_payment_methods(owner, sandbox, customer):
    assert await ok(await owner.get("payment-methods")) == {"items": []}
    await start(owner)
    sandbox.add_card(customer().id)
    [card] = (await ok(await owner.get("payment-methods")))["items"]
    assert (card["type"], card["brand"], card["last4"], card["is_default"]) == ("card", "visa", "4242", True)


async def test_costs_nothing_without_recent_proof_role_and_person(app, issuer, tenant, sandbox):
    path = f"/api/v1/billing/tenants/{tenant}/subscription"
    for token, status, code in (
        (issuer.token(tenant_id=tenant, role="member"), 403, "forbidden"),
        (
            issuer.token(tenant_id=tenant, auth_time=int(time.time()) - 3600),
            401,
            "insufficient_user_authentication",
        ),
        (issuer.token(tenant_id=tenant, without=["auth_time"]), 401, "insufficient_user_authentication"),
        (issuer.token(tenant_id=uuid4()), 404, "tenant_not_found"),
    ):
        async with client(app, token) as http:
            answer = await http.post(path, json=STARTER)
            assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    async with client(app, issuer.token(tenant_id=tenant, role="owner")) as http:
        down = await http.post(path, json=STARTER, headers={"X-Tenant-Role": "viewer"})
        assert down.status_code == 403
    async with client(app, issuer.token(tenant_id=tenant, role="viewer")) as http:
        assert (await http.get(path)).status_code == 200
    assert sandbox.customers_of(tenant) == []


async def test_says_what_to_do_without_stripe_or_prices(settings, issuer, tenant, sandbox):
    path = f"/api/v1/billing/tenants/{tenant}/subscription"
    for changes, status, code in (
        ({"enable_billing": False}, 404, "billing_disabled"),
        ({"stripe_secret_key": None}, 503, "stripe_not_configured"),
        ({"stripe_api_base": "http://127.0.0.1:1"}, 503, "stripe_unavailable"),
        ({"stripe_product_price_map": {"starter": "price_gone"}}, 502, "stripe_request_rejected"),
    ):
        changed = settings.model_copy(update={**changes, "run_workers": False})
        async with running(create_app(changed)) as app, client(app, issuer.token(tenant_id=tenant)) as http:
            answer = await http.post(path, json={**STARTER, "seat_count": 1})
            assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text


async def test_one_tenant_never_sees_anothers(app, owner, issuer, sandbox):
    await start(owner)
    stranger = uuid4()
    async with client(app, issuer.token(tenant_id=stranger)) as http:
        answer = await http.get(f"/api/v1/billing/tenants/{stranger}/subscription")
        assert answer.json()["plan_code"] == "free"


async def test_a_new_tenant_has_the_free_plan(app, publish_event, tenant, owner, services, until):
    await publish_event({"tenant_id": str(tenant)}, type="auth.tenant.created.v1")

    async def stored():
        async with services.database.begin() as db:
            return await db.scalar(select(Subscription).where(Subscription.tenant_id == tenant))

    row = await until(stored)
    assert (row.plan_code, row.status, row.stripe_subscription_id) == ("free", "active", None)


async def test_a_trial_at_signup_waits_for_stripe_and_is_not_lost(
    settings, issuer, publish_event, tenant, sandbox, until
):
    """Signing up once called Stripe in the request: when that failed, the tenant stayed without a plan."""
    sandbox.fail(path="/v1/customers", method="POST", kind="error", status=503, count=3)
    signup = settings.model_copy(update={"billing_signup_plan": "starter"})
    async with running(create_app(signup)) as app, client(app, issuer.token(tenant_id=tenant)) as http:
        event_id = await publish_event({"tenant_id": str(tenant)}, type="auth.tenant.created.v1")
        await publish_event({"tenant_id": str(tenant)}, event_id, type="auth.tenant.created.v1")

        async def plan():
            answer = await http.get(f"/api/v1/billing/tenants/{tenant}/subscription")
            return answer.json() if answer.json()["plan_code"] == "starter" else None

        assert (await until(plan))["status"] == "trialing"
        async with app.state.resources.database.begin() as db:
            recorded = await db.scalar(select(outbox.c.data).where(outbox.c.type == AuditRecorded.type))
    assert (recorded["action"], recorded["actor"]) == ("billing_subscription_started", None)
    [customer] = sandbox.customers_of(tenant)
    assert len(sandbox.subscriptions(customer.id)) == 1


async def test_a_command_for_what_stripe_has_ended_says_so(owner, sandbox, at_stripe):
    await start(owner)
    # No webhook comes here.
    sandbox.client.v1.subscriptions.cancel(at_stripe().id)
    gone = await owner.patch("subscription", json={"seat_count": 2})
    assert (gone.status_code, gone.json()["code"]) == (404, "subscription_not_found"), gone.text
    assert (await owner.get("subscription")).json()["plan_code"] == "free"


CHECKOUT = {
    "plan_code": "starter",
    "success_url": "https://app.example.com/done",
    "cancel_url": "https://app.example.com/back",
}


async def test_a_second_checkout_expires_the_first(owner, sandbox, customer):
    headers = {"Idempotency-Key": str(uuid4())}
    first = await ok(await owner.post("checkout-sessions", json=CHECKOUT, headers=headers), 201)
    assert await ok(await owner.post("checkout-sessions", json=CHECKOUT, headers=headers), 201) == first
    second = await ok(await owner.post("checkout-sessions", json={**CHECKOUT, "seat_count": 2}), 201)
    sessions = sandbox.client.v1.checkout.sessions.list({"customer": customer().id}).data
    assert {session.url for session in sessions if session.status == "open"} == {second["url"]}
    assert sorted(session.status for session in sessions) == ["expired", "open"]
    assert (await owner.get("subscription")).json()["plan_code"] == "free"


async def test_no_checkout_for_a_tenant_with_a_subscription(owner):
    await start(owner)
    answer = await owner.post("checkout-sessions", json=CHECKOUT)
    assert (answer.status_code, answer.json()["code"]) == (409, "subscription_already_exists")


async def test_the_portal_is_for_customers(owner, sandbox):
    back = {"return_url": "https://app.example.com/billing"}
    missing = await owner.post("portal-sessions", json=back)
    assert (missing.status_code, missing.json()["code"]) == (404, "customer_not_found")
    sandbox.client.v1.billing_portal.configurations.create(
        {"features": {"invoice_history": {"enabled": True}}}
    )
    await start(owner)
    page = await ok(await owner.post("portal-sessions", json=back), 201)
    assert page["url"].startswith(sandbox.url)


async def test_what_was_begun_on_a_page_of_stripe_is_not_begun_again(owner, sandbox, customer, at_stripe):
    await ok(await owner.post("checkout-sessions", json=CHECKOUT), 201)
    sandbox.complete_checkouts([customer()])
    # No webhook comes here.
    again = await owner.post("subscription", json=STARTER)
    assert (again.status_code, again.json()["code"]) == (409, "subscription_already_exists"), again.text
    assert at_stripe().status == "trialing"
    assert (await owner.get("subscription")).json()["plan_code"] == "starter"


async def test_a_start_leaves_no_page_open_on_which_a_second_could_begin(owner, sandbox, customer, at_stripe):
    await ok(await owner.post("checkout-sessions", json=CHECKOUT), 201)
    await start(owner)
    sandbox.complete_checkouts([customer()])
    assert at_stripe().status == "trialing"
