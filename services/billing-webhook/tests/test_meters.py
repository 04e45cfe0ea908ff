"""Usage at Stripe's meters: each record once, whatever fails, and compared with the ledger."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import httpx
import pytest
from billing_webhook.cli import main
from billing_webhook.models import Customer, MeterProjection, StripeCursor, UsageTotal
from billing_webhook.plans.catalog import catalog
from billing_webhook.stripe_events.envelope import Envelope
from billing_webhook.stripe_events.fetch import ERROR_REPORT
from billing_webhook.stripe_events.handlers import HANDLERS
from billing_webhook.stripe_events.handling import Handling
from billing_webhook.usage import projection, reconcile
from billing_webhook.usage.projection_worker import send_batch
from pydantic import SecretStr
from sandbox.stripe.app import create_stripe
from sqlalchemy import select, update
from stripe import StripeClient
from testkit.live_server import serving

KEY = "sk_test_sandbox"
PRICE = next(plan for plan in catalog().plans if plan.metered_prices).metered_prices[0]


@pytest.fixture
def stripe_url() -> Iterator[str]:
    with serving(create_stripe()) as url:
        yield url


@pytest.fixture
def sandbox(stripe_url):
    """The sandbox's Stripe, as the official client reaches it, with our meters."""
    client = StripeClient(KEY, base_addresses=dict.fromkeys(("api", "meter_events"), stripe_url))
    for meter in catalog().meters:
        formula = {"formula": meter.aggregation}
        params = {
            "display_name": meter.feature,
            "event_name": meter.event_name,
            "default_aggregation": formula,
        }
        client.v1.billing.meters.create(params)
    return client


@pytest.fixture
def control(stripe_url):
    with httpx.Client(base_url=stripe_url, headers={"Authorization": f"Bearer {KEY}"}) as http:
        yield http
        http.delete("/_ctl/faults")


@pytest.fixture
def settings(settings, stripe_url, sandbox):
    # Without workers: the tests send batches themselves.
    return settings.model_copy(
        update={"stripe_secret_key": SecretStr(KEY), "stripe_api_base": stripe_url, "run_workers": False}
    )


@pytest.fixture
def database(app):
    return app.state.resources.database


@pytest.fixture
async def customer(database, tenant, sandbox, subscribe):
    """A customer with a subscription whose messages are billed by use."""
    made = sandbox.v1.customers.create({"email": "ann@example.com"})
    card = sandbox.v1.payment_methods.attach("pm_card_visa", {"customer": made.id})
    sandbox.v1.customers.update(made.id, {"invoice_settings": {"default_payment_method": card.id}})
    meters = {meter.event_name: meter.id for meter in sandbox.v1.billing.meters.list().data}
    product = sandbox.v1.products.create({"name": "Pro"})
    price = sandbox.v1.prices.create(
        {
            "product": product.id,
            "currency": PRICE.currency,
            "unit_amount_decimal": str(PRICE.unit_amount),
            "recurring": {
                "interval": "month",
                "usage_type": "metered",
                "meter": meters[catalog().meter(PRICE.feature).event_name],
            },
        }
    )
    made_subscription = sandbox.v1.subscriptions.create({"customer": made.id, "items": [{"price": price.id}]})
    item = made_subscription["items"].data[0]
    start, end = (datetime.fromtimestamp(item[f"current_period_{name}"], UTC) for name in ("start", "end"))
    async with database.begin() as db:
        db.add(Customer(stripe_customer_id=made.id, tenant_id=tenant))
    await subscribe(
        stripe_subscription_id=made_subscription.id,
        items=[{"id": item.id, "price": price.id, "lookup_key": PRICE.lookup_key, "metered": True}],
        started_at=start,
        current_period_start=start,
        current_period_end=end,
    )
    return made.id


@pytest.fixture
def report(admin, tenant, customer):
    async def post(quantity, feature="messages", **changes):
        usage = {"feature_key": feature, "quantity": quantity, "idempotency_key": str(uuid4()), **changes}
        answer = await admin.post(f"/api/v1/billing/tenants/{tenant}/usage", json=usage)
        assert answer.status_code == 201, answer.text
        return answer.json()["id"]

    return post


@pytest.fixture
def reverse(admin, tenant):
    async def post(record):
        path = f"/api/v1/billing/tenants/{tenant}/usage/records/{record}/reverse"
        answer = await admin.post(path, json={"idempotency_key": f"undo-{record}"})
        assert answer.status_code == 201, answer.text
        return answer.json()["id"]

    return post


@pytest.fixture
def send(app, database):
    """Send all that is due, also what waits for its next attempt."""

    async def until_sent(rounds=10):
        for _ in range(rounds):
            async with database.begin() as db:
                now = {"next_attempt_at": datetime.now(UTC) - timedelta(seconds=1)}
                await db.execute(
                    update(MeterProjection).where(MeterProjection.state == "pending").values(now)
                )
            if not await send_batch(database, app.state.stripe):
                return

    return until_sent


@pytest.fixture
def counted(app, customer, database):
    """Return what Stripe has counted of a feature."""

    async def get(feature="messages"):
        now = datetime.now(UTC)
        meter = catalog().meter(feature)
        start = now - timedelta(days=1)
        total = await reconcile.meter_total(app.state.stripe, customer, meter, start, now + timedelta(days=1))
        return str(total)

    return get


@pytest.fixture
def states(database, tenant):
    async def get():
        async with database.begin() as db:
            query = select(MeterProjection.record_id, MeterProjection.state).filter_by(tenant_id=tenant)
            return {str(row.record_id): row.state for row in await db.execute(query)}

    return get


async def test_each_record_is_counted_once(report, send, counted, states):
    records = [await report(n) for n in (1, 2, 3)]
    await report("0.25", "cost")
    await asyncio.gather(send(), send())
    assert (await counted(), await counted("cost")) == ("6", "0.25")
    assert {*(await states()).values()} == {"sent"}
    assert {*records} < {*await states()}


async def test_what_was_received_and_not_answered_is_counted_once(report, send, counted, database, states):
    """A worker that dies after Stripe has received a record sends it again."""
    await report(5)
    await send()
    async with database.begin() as db:
        await db.execute(update(MeterProjection).values(state="pending", sent_at=None))
    await send()
    assert await counted() == "5"
    assert {*(await states()).values()} == {"sent"}


@pytest.mark.parametrize(
    "fault", [{"status": 500}, {"status": 500, "worked": True}, {"kind": "drop", "worked": True}]
)
async def test_an_outage_of_stripe_loses_and_doubles_nothing(report, send, counted, control, states, fault):
    path = "/v1/billing/meter_events"
    control.post("/_ctl/faults", json={"api": [{**fault, "count": 100, "path": path}]}).raise_for_status()
    for _ in range(3):
        await report(1)
    await send(rounds=1)
    control.delete("/_ctl/faults").raise_for_status()
    await send()
    assert await counted() == "3"
    assert {*(await states()).values()} == {"sent"}


async def test_a_reversal_cancels_the_event(report, reverse, send, counted):
    first, second = await report(5), await report(7)
    await send()
    await reverse(first)
    await send()
    assert await counted() == "7"
    await reverse(second)
    await send()
    assert await counted() == "0"


async def test_a_record_and_its_reversal_may_wait_together(report, reverse, send, counted):
    await reverse(await report(5))
    await report(1)
    await send()
    assert await counted() == "1"


async def test_an_old_record_is_taken_back_by_a_negative_event(
    report, reverse, send, counted, control, states
):
    record = await report(5)
    await send()
    await reverse(record)
    # So long was Stripe away that it does not cancel the event any more.
    control.post("/_ctl/clock", json={"advance": 25 * 3600}).raise_for_status()
    await send()
    assert await counted() == "0"
    assert {*(await states()).values()} == {"sent"}


async def test_what_stripe_refuses_is_rejected(report, send, database, states):
    record = await report(5)
    async with database.begin() as db:
        await db.execute(update(MeterProjection).values(event_name="no_such_meter"))
    await send()
    assert await states() == {record: "rejected"}


async def test_a_meters_error_report_rejects_its_records(report, send, database, states):
    record, other = await report(5), await report(6)
    await send()
    async with database.begin() as db:
        await projection.mark_reported(db, [record, "not one of ours"], "meter_event_customer_not_found")
    assert await states() == {record: "rejected", other: "sent"}


async def test_the_handler_of_error_reports_rejects_the_records_of_unknown_customers(
    app, report, send, database, states, sandbox
):
    """Stripe finds out later that it does not know the customer, and tells of it in an event."""
    async with database.begin() as db:
        await db.execute(update(Customer).values(stripe_customer_id="cus_unknown"))
    record = await report(5)
    await send()
    assert await states() == {record: "sent"}
    listed = sandbox.v2.core.events.list().data
    [event] = [one for one in listed if one.type == ERROR_REPORT]
    envelope = Envelope.model_validate({**event.to_dict(), "data": None})
    fetched = await HANDLERS["meter_errors"].fetch(app.state.stripe, envelope)
    about = Handling("meter_errors", envelope, None, fetched, datetime.now(UTC), {})
    async with database.begin() as db:
        await HANDLERS["meter_errors"].apply(db, about)
    assert await states() == {record: "rejected"}


async def test_usage_of_the_free_plan_is_not_sent(admin, tenant, states):
    usage = {"feature_key": "messages", "quantity": 1, "idempotency_key": "free"}
    assert (await admin.post(f"/api/v1/billing/tenants/{tenant}/usage", json=usage)).status_code == 201
    assert await states() == {}


async def test_the_four_views_agree_or_reconcile_says_where_not(
    settings, monkeypatch, capsys, app, database, tenant, report, reverse, send
):
    monkeypatch.setattr("billing_webhook.settings.Settings.load", lambda: settings)

    async def compared():
        code = await asyncio.to_thread(main, ["reconcile", "--all"])
        lines = [line for line in capsys.readouterr().out.splitlines() if str(tenant) in line]
        return code, [line for line in lines if " messages " in line]

    await report(40)
    await reverse(await report(3))
    code, lines = await compared()
    assert (code, [line.split()[0] for line in lines]) == (0, ["agrees", "agrees"]), lines
    assert "pending 40" in lines[1]
    await send()
    code, lines = await compared()
    assert code == 0, lines
    assert lines[1].endswith("ledger 40  counter 40  pending 0  rejected 0  meter 40  invoice 40")
    async with database.begin() as db:
        await db.execute(update(MeterProjection).filter_by(tenant_id=tenant).values(state="rejected"))
    code, lines = await compared()
    assert (code, lines[1].split()[0]) == (1, "DIFFERS")
    async with database.begin() as db:
        await db.execute(update(MeterProjection).filter_by(tenant_id=tenant).values(state="sent"))
        await db.execute(update(UsageTotal).filter_by(tenant_id=tenant).values(used=41))
    code, lines = await compared()
    assert (code, [line.split()[0] for line in lines]) == (1, ["DIFFERS", "DIFFERS"])
    assert await reconcile.log_differences(database, app.state.stripe) == 2


async def test_one_replica_compares_once_a_day(database):
    assert not await reconcile.claim(database)
    async with database.begin() as db:
        yesterday = datetime.now(UTC) - timedelta(hours=25)
        await db.execute(
            update(StripeCursor).where(StripeCursor.name == reconcile.CURSOR).values(started_at=yesterday)
        )
    turns = await asyncio.gather(*(reconcile.claim(database) for _ in range(5)))
    assert sorted(turns) == [False] * 4 + [True]
