"""What is left of a tenant after its purge: a walk through all tables of the service."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from billing_webhook.billing_events.retention import retention_rules
from billing_webhook.models import (
    Base,
    Command,
    Customer,
    EntitlementGrant,
    Invoice,
    StripeDispatch,
    StripeEvent,
    StripeObject,
)
from billing_webhook.subscriptions import sync
from billing_webhook.tenant_erasure import redact_events
from servicekit.retention import RetentionWorker
from sqlalchemy import select
from stripe import Customer as StripeCustomer

EMAIL = "ann.example@customer.example"
CUSTOMER = "cus_of_the_tenant"
# What still has the tenant's id, or its customer's, and why. Everything else is gone.
STAYS = {
    "billing_event_counters": "numbers of events are not used again",
    "customers": "finds the tenant of late events; without the address",
    "entitlement_versions": "a number",
    "idempotency_keys": "answers to repeated requests; deleted after 24 hours",
    "invoices": "number and amounts, as long as books are kept; without the links",
    "meter_events": "what Stripe was sent: ids and quantities",
    "reservations": "quantities of runs whose usage has not arrived; deleted after 35 days",
    "stripe_dispatches": "what was processed; deleted after 400 days",
    "stripe_events": "ids against repetitions, without contents; deleted after 400 days",
    "stripe_objects": "what was applied last of a customer",
    "subscription_commands": "which commands Stripe was sent; without who sent them",
    "subscriptions": "plan, seats and periods",
    "tenants": "that it was purged",
    "usage_entries": "quantities, which were billed; of an anonymous user",
    "usage_records": "quantities, which were billed; without dimensions, keys and users",
    "usage_totals": "the sums of these",
}


@pytest.fixture
def contents(database):
    """Return all that is in the service's tables, as text, by table."""

    async def read():
        async with database.begin() as db:
            return {
                table.name: "\n".join(" ".join(map(as_text, row)) for row in await db.execute(select(table)))
                for table in Base.metadata.sorted_tables
            }

    return read


def as_text(value):
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def tables_with(contents, *texts):
    return {name for name, text in contents.items() if any(each in text for each in texts)}


@pytest.fixture
def purge(redis):
    async def publish(tenant):
        gone = (datetime.now(UTC) - timedelta(seconds=1)).isoformat()
        entry = {
            "specversion": "1.0",
            "id": str(uuid4()),
            "source": "acme/auth",
            "type": "auth.tenant.deleted.v1",
            "subject": "-",
            "time": datetime.now(UTC).isoformat(),
            "data": json.dumps({"tenant_id": str(tenant), "version": 2, "purge_after": gone}),
        }
        await redis.xadd("events:auth", entry)

    return publish


@pytest.fixture
async def traces(database, tenant, admin, chat_agent, subscribe, ran, runs, post_event, make_event):
    """Leave the tenant's address, and what it has written itself, wherever they can be."""
    await subscribe()
    await ran(("gpt-5.1", 5, 5), user_id=f"user:{EMAIL}")
    await runs(1)
    billing = f"/api/v1/billing/tenants/{tenant}"
    about = {"idempotency_key": EMAIL, "dimensions": {"who": EMAIL}}
    usage = {"feature_key": "messages", "quantity": 40_000, **about}
    assert (await admin.post(f"{billing}/usage", json=usage)).status_code == 201
    budget = {"unit": "tokens", "limit": 5, "scope": "user", "scope_id": EMAIL}
    assert (await admin.post(f"{billing}/budgets", json=budget)).status_code == 201
    call = f"/internal/v1/tenants/{tenant}/reservations/{uuid4()}/calls/start"
    who = {"user_id": EMAIL, "api_key_id": EMAIL, "agent": "triage", "model": "gpt-5.1", "messages": 1}
    assert (await chat_agent.put(call, json=who)).status_code == 200
    now = datetime.now(UTC)
    common = {"tenant_id": tenant, "created_at": now}
    url = f"https://stripe.example/{EMAIL}"
    async with database.begin() as db:
        db.add(Customer(stripe_customer_id=CUSTOMER, billing_email=EMAIL, **common))
        db.add(
            Command(
                actor=f"user:{EMAIL}",
                kind="start",
                state="succeeded",
                arguments={"plan_code": "pro", "billing_email": EMAIL},
                facts={"url": url},
                idempotency_key=EMAIL,
                error=f"declined for {EMAIL}",
                **common,
            )
        )
        db.add(
            Invoice(
                stripe_invoice_id="in_1",
                status="paid",
                currency="eur",
                period_start=now,
                period_end=now,
                hosted_invoice_url=url,
                invoice_pdf=url,
                **dict.fromkeys(
                    ("total", "amount_due", "amount_paid", "amount_remaining", "attempt_count"), 1
                ),
                **common,
            )
        )
        grant = {"feature_key": "seats", "priority": 0, "granted_by": "operator"}
        db.add(EntitlementGrant(id=uuid4(), reason=f"asked by {EMAIL}", **grant, **common))
        db.add(StripeObject(handler="entitlements", object_id=CUSTOMER, event_created=now, state="exports"))
        await sync.publish_changed(db, await sync.current(db, tenant), entitling=True)
    for type_, kind in (("customer.updated", "customer"), ("payment_method.attached", "payment_method")):
        name = {"id": CUSTOMER} if kind == "customer" else {"id": "pm_1", "customer": CUSTOMER}
        event = make_event(type_, data={"object": {**name, "object": kind, "email": EMAIL}})
        assert (await post_event(event)).status_code == 202
    async with database.begin() as db:
        for dispatch in await db.scalars(select(StripeDispatch)):
            dispatch.status, dispatch.tenant_id, dispatch.last_error = "dead", tenant, f"no {EMAIL}"


async def test_only_what_was_billed_is_left_of_a_purged_tenant(
    settings, database, tenant, contents, traces, purge, usage, until
):
    before = await contents()
    everywhere = tables_with(before, EMAIL)
    assert everywhere == {
        "budgets",
        "customers",
        "entitlement_grants",
        "invoices",
        "reservations",
        "stripe_dispatches",
        "stripe_events",
        "subscription_commands",
        "usage_entries",
        "usage_records",
    }
    assert str(tenant) in before["billing_events"]
    sums = await usage()
    await purge(tenant)

    async def is_erased():
        now = await contents()
        return None if tables_with(now, EMAIL) or str(tenant) in now["billing_events"] else now

    await until(is_erased)
    # The outbox is sent, and then deleted; by the worker, every five minutes.
    await until(lambda: is_published(database))
    await RetentionWorker(database, rules=retention_rules(settings)).step()
    left = await contents()
    assert tables_with(left, EMAIL) == set()
    found = tables_with(left, str(tenant), CUSTOMER)
    assert found <= STAYS.keys(), found - STAYS.keys()
    assert await usage() == sums


async def is_published(database):
    outbox = Base.metadata.tables["outbox"]
    async with database.begin() as db:
        return await db.scalar(select(outbox.c.id).where(outbox.c.published_at.is_(None))) is None


async def test_what_comes_after_the_purge_leaves_nothing_either(
    app, database, tenant, contents, purge, until
):
    async with database.begin() as db:
        db.add(Customer(stripe_customer_id=CUSTOMER, tenant_id=tenant, billing_email=EMAIL))
    await purge(tenant)

    async def is_erased():
        return not tables_with(await contents(), EMAIL)

    await until(is_erased)
    customer = StripeCustomer.construct_from({"id": CUSTOMER, "email": EMAIL}, "sk_test")
    async with database.begin() as db:
        await sync.apply_customer(db, tenant, customer)
        db.add(
            StripeEvent(
                id="evt_late",
                dedupe_key="evt_late",
                type="payment_method.attached",
                livemode=False,
                created=datetime.now(UTC),
                stripe_customer_id=CUSTOMER,
                payload=EMAIL.encode(),
            )
        )
    await redact_events(database)
    assert await is_erased()


async def test_what_is_being_processed_is_erased_when_it_is_finished(
    database, tenant, contents, purge, until, post_event, make_event
):
    async with database.begin() as db:
        db.add(Customer(stripe_customer_id=CUSTOMER, tenant_id=tenant))
    customer = {"id": CUSTOMER, "object": "customer", "email": EMAIL}
    assert (await post_event(make_event("customer.updated", data={"object": customer}))).status_code == 202
    await purge(tenant)
    assert await redact_events(database) == 0
    assert tables_with(await contents(), EMAIL) == {"stripe_events"}
    async with database.begin() as db:
        for dispatch in await db.scalars(select(StripeDispatch)):
            dispatch.status = "completed"
    await until(lambda: is_gone(contents))


async def is_gone(contents):
    return not tables_with(await contents(), EMAIL)


def test_the_reference_has_what_stays():
    reference = (Path(__file__).parents[3] / "docs" / "reference" / "billing-webhook.md").read_text()
    for table, reason in STAYS.items():
        assert f"| `{table}` | {reason} |" in reference
