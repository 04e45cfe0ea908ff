"""Usage at Stripe's meters: each record once, whatever fails, and compared with the ledger."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import httpx
import pytest
from billing_webhook.cli import main
from billing_webhook.models import Customer, MeterEvent, StripeCursor, UsageTotal
from billing_webhook.plans.catalog import catalog
from billing_webhook.stripe_events.envelope import Envelope
from billing_webhook.stripe_events.fetch import ERROR_REPORT
from billing_webhook.stripe_events.handlers import HANDLERS
from billing_webhook.stripe_events.handling import Handling
from billing_webhook.usage import meter_events, reconcile
from billing_webhook.usage.meter_event_worker import send_due
from billing_webhook.usage.meters import meter_total
from pydantic import SecretStr
from sandbox.stripe.app import create_stripe
from servicekit.events.outbox import outbox
from sqlalchemy import select, update
from stripe import StripeClient
from testkit.live_server import serving

KEY = "sk_test_sandbox"
AT_ONCE = timedelta(0)
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
    with httpx.Client(base_url=stripe_url, headers={"Authorization": f"Bearer {KEY}"}, timeout=60) as http:
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
                    update(MeterEvent).where(MeterEvent.state.in_(meter_events.OPEN)).values(now)
                )
            if not await send_due(database, app.state.stripe, AT_ONCE):
                return

    return until_sent


@pytest.fixture
def counted(app, customer):
    """Return what Stripe has counted of a feature."""

    async def get(feature="messages"):
        now = datetime.now(UTC)
        name = catalog().meter(feature).event_name
        start, end = now - timedelta(days=1), now + timedelta(days=1)
        return str(await meter_total(app.state.stripe, customer, name, start, end))

    return get


@pytest.fixture
def events(database, tenant):
    """Return the values and states of the tenant's meter events, in their order."""

    async def get():
        async with database.begin() as db:
            query = select(MeterEvent).filter_by(tenant_id=tenant).order_by(MeterEvent.identifier)
            return [(int(event.value), event.state) for event in await db.scalars(query)]

    return get


@pytest.fixture
def pass_time(database, control):
    """Advance the time of Stripe by hours, and since the first attempt to send events."""

    async def advance(hours):
        control.post("/_ctl/clock", json={"advance": hours * 3600}).raise_for_status()
        async with database.begin() as db:
            earlier = {
                "first_attempt_at": MeterEvent.first_attempt_at - timedelta(hours=hours),
                "cancelable_until": MeterEvent.cancelable_until - timedelta(hours=hours),
            }
            await db.execute(update(MeterEvent).values(earlier))

    return advance


@pytest.fixture
def without_answer(control, send):
    """Send what is due to a Stripe that does not answer, whether it receives it or not."""

    async def send_once(*, is_received):
        fault = {"kind": "drop", "worked": is_received, "count": 100, "path": "/v1/billing/meter_events"}
        control.post("/_ctl/faults", json={"api": [fault]}).raise_for_status()
        await send(rounds=1)
        control.delete("/_ctl/faults").raise_for_status()

    return send_once


async def test_many_records_are_one_event_of_each_counter(report, send, counted, events, tenant, database):
    """All features were once booked on the first item, by usage records, which Stripe has removed."""
    for n in (1, 2, 3):
        await report(n)
    await report(5, "cost")
    await asyncio.gather(send(), send())
    assert (await counted(), await counted("cost")) == ("6", "5")
    assert await events() == [(5, "sent"), (6, "sent")]
    await report(4)
    await send()
    assert await counted() == "10"
    async with database.begin() as db:
        total = await db.scalar(select(UsageTotal).filter_by(tenant_id=tenant, feature_key="messages"))
        sent = await db.scalars(select(MeterEvent.identifier).filter_by(feature_key="messages"))
    start = int(total.period_start.timestamp())
    assert sorted(sent) == [f"{tenant}:messages:{start}:{number}" for number in (1, 2)]


async def test_what_is_reported_within_an_hour_is_one_event(app, database, report, events):
    await report(1)
    window = timedelta(minutes=app.state.resources.settings.billing_meter_window_minutes)
    assert await send_due(database, app.state.stripe, window) == 0
    await report(2)
    async with database.begin() as db:
        await db.execute(update(UsageTotal).values(unsent_since=UsageTotal.unsent_since - window))
    assert await send_due(database, app.state.stripe, window) == 1
    assert await events() == [(3, "sent")]


async def test_usage_reported_while_events_are_made_is_sent(report, send, counted):
    """A counter that changes while its event is made has another one."""

    async def send_often():
        for _ in range(15):
            await send()

    await asyncio.gather(*(report(1) for _ in range(40)), send_often(), send_often())
    await send()
    assert await counted() == "40"


async def test_fractions_are_exact_at_stripe(report, send, counted):
    await report("0.25", "cost")
    await send()
    assert await counted("cost") == "0.25"


async def test_what_was_received_and_not_answered_is_counted_once(report, send, counted, database, events):
    """A worker that dies after Stripe has received an event sends it again."""
    await report(5)
    await send()
    async with database.begin() as db:
        await db.execute(update(MeterEvent).values(state="pending", sent_at=None))
    await send()
    assert await counted() == "5"
    assert await events() == [(5, "sent")]


@pytest.mark.parametrize(
    "fault", [{"status": 500}, {"status": 500, "worked": True}, {"kind": "drop", "worked": True}]
)
async def test_an_outage_of_stripe_loses_and_doubles_nothing(report, send, counted, control, events, fault):
    path = "/v1/billing/meter_events"
    control.post("/_ctl/faults", json={"api": [{**fault, "count": 100, "path": path}]}).raise_for_status()
    await report(1)
    await send(rounds=1)
    # What is reported meanwhile waits, for an event of its own.
    for _ in range(2):
        await report(1)
    await send(rounds=1)
    assert await events() == [(1, "pending")]
    control.delete("/_ctl/faults").raise_for_status()
    await send()
    assert await counted() == "3"
    assert await events() == [(1, "sent"), (2, "sent")]


@pytest.mark.parametrize("is_received", [True, False])
async def test_an_event_that_stripe_has_forgotten_is_looked_up_before_it_is_sent_again(
    report, send, counted, events, without_answer, pass_time, is_received
):
    await report(3)
    await send()
    await report(5)
    await without_answer(is_received=is_received)
    assert await events() == [(3, "sent"), (5, "pending")]
    await pass_time(25)
    await send()
    assert await counted() == "8"
    assert await events() == [(3, "sent"), (5, "sent")]


async def test_an_event_of_which_stripe_does_not_say_whether_it_counts_is_not_sent_again(
    report, send, counted, events, without_answer, pass_time, sandbox, customer
):
    await report(5)
    await without_answer(is_received=True)
    # What is not ours counts, too.
    payload = {"stripe_customer_id": customer, "value": "2"}
    sandbox.v1.billing.meter_events.create({"event_name": "acme_messages", "payload": payload})
    await pass_time(25)
    before = meter_events.UNCLEAR._value.get()
    await send()
    assert (await counted(), await events()) == ("7", [(5, "unclear")])
    assert meter_events.UNCLEAR._value.get() == before + 1
    # The next one goes out, and is not looked up by a sum that is not known.
    await report(1)
    await without_answer(is_received=False)
    await pass_time(25)
    await send()
    assert await events() == [(5, "unclear"), (1, "unclear")]


async def test_a_reversal_cancels_the_event(report, reverse, send, counted, events):
    first = await report(5)
    await send()
    second = await report(7)
    await send()
    await reverse(first)
    await send()
    assert (await counted(), await events()) == ("7", [(5, "canceled"), (7, "sent")])
    await reverse(second)
    await send()
    assert (await counted(), await events()) == ("0", [(5, "canceled"), (7, "canceled")])


async def test_what_else_a_canceled_event_counted_is_sent_again(report, reverse, send, counted, events):
    records = [await report(n) for n in (5, 7)]
    await send()
    await reverse(records[0])
    await send()
    assert (await counted(), await events()) == ("7", [(12, "canceled"), (7, "sent")])


async def test_a_record_and_its_reversal_may_wait_together(report, reverse, send, counted, events):
    await reverse(await report(5))
    await report(1)
    await send()
    assert (await counted(), await events()) == ("1", [(1, "sent")])


async def test_after_a_day_a_negative_event_takes_usage_back(
    report, reverse, send, counted, events, pass_time
):
    record = await report(5)
    await send()
    await pass_time(25)
    await reverse(record)
    await send()
    assert (await counted(), await events()) == ("0", [(5, "sent"), (-5, "sent")])


async def test_an_event_that_stripe_does_not_cancel_any_more_is_taken_back_by_a_negative_one(
    report, reverse, send, counted, control, events
):
    record = await report(5)
    await send()
    await reverse(record)
    # So long was Stripe away that it does not cancel the event any more.
    control.post("/_ctl/clock", json={"advance": 25 * 3600}).raise_for_status()
    await send()
    assert (await counted(), await events()) == ("0", [(5, "sent"), (-5, "sent")])


async def test_late_usage_of_a_period_counts_in_it_at_stripe(
    app, report, send, customer, change_subscription, database
):
    start = datetime.now(UTC) - timedelta(hours=2)
    before = start - timedelta(days=30)
    await change_subscription(
        started_at=before, current_period_start=start, current_period_end=start + timedelta(days=30)
    )
    await report(3, occurred_at=(start - timedelta(minutes=1)).isoformat())
    await report(4)
    await send()
    name = catalog().meter("messages").event_name

    async def total(start, end):
        return await meter_total(app.state.stripe, customer, name, start, end)

    assert await total(before, start) == 3
    assert await total(start, start + timedelta(days=30)) == 4


async def test_what_stripe_refuses_is_rejected(report, send, events, sandbox):
    [meter] = [one for one in sandbox.v1.billing.meters.list().data if one.event_name == "acme_messages"]
    sandbox.v1.billing.meters.deactivate(meter.id)
    await report(5)
    await send()
    assert await events() == [(5, "rejected")]


async def test_a_meters_error_report_rejects_its_events(report, send, database, events, tenant):
    await report(5)
    await send()
    await report(6)
    await send()
    async with database.begin() as db:
        first = await db.scalar(select(MeterEvent.identifier).filter_by(tenant_id=tenant, value=5))
        await meter_events.mark_reported(db, [first, "not one of ours"], "meter_event_customer_not_found")
    assert await events() == [(5, "rejected"), (6, "sent")]


async def test_the_handler_of_error_reports_rejects_the_events_of_unknown_customers(
    app, report, send, database, events, sandbox
):
    """Stripe finds out later that it does not know the customer, and tells of it in an event."""
    async with database.begin() as db:
        await db.execute(update(Customer).values(stripe_customer_id="cus_unknown"))
    await report(5)
    await send()
    assert await events() == [(5, "sent")]
    listed = sandbox.v2.core.events.list().data
    [event] = [one for one in listed if one.type == ERROR_REPORT]
    envelope = Envelope.model_validate({**event.to_dict(), "data": None})
    fetched = await HANDLERS["meter_errors"].fetch(app.state.stripe, envelope)
    about = Handling("meter_errors", envelope, None, fetched, datetime.now(UTC), {})
    async with database.begin() as db:
        await HANDLERS["meter_errors"].apply(db, about)
    assert await events() == [(5, "rejected")]


async def test_usage_of_the_free_plan_is_not_sent(admin, tenant, send, events, sandbox, app):
    usage = {"feature_key": "messages", "quantity": 1, "idempotency_key": "free"}
    assert (await admin.post(f"/api/v1/billing/tenants/{tenant}/usage", json=usage)).status_code == 201
    await send()
    assert await events() == []


async def test_the_four_views_agree_or_reconcile_says_where_not(
    settings, monkeypatch, capsys, app, database, tenant, report, reverse, send
):
    """Lines of invoices were once added to the usage that they bill, so that it counted twice."""
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
        await db.execute(update(MeterEvent).filter_by(tenant_id=tenant).values(state="rejected"))
    code, lines = await compared()
    assert (code, lines[1].split()[0]) == (1, "DIFFERS")
    async with database.begin() as db:
        await db.execute(update(MeterEvent).filter_by(tenant_id=tenant).values(state="sent"))
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


@pytest.fixture
def settle(settings, monkeypatch, capsys):
    """Run a command of meter events as an operator does; return its exit code and what it prints."""
    monkeypatch.setattr("billing_webhook.settings.Settings.load", lambda: settings)

    async def run(*words):
        code = await asyncio.to_thread(main, ["stripe", "meter-events", *words])
        printed = capsys.readouterr()
        return code, (printed.out + printed.err).strip()

    return run


@pytest.fixture
def identifier_of(database, tenant):
    async def find(value):
        async with database.begin() as db:
            return await db.scalar(select(MeterEvent.identifier).filter_by(tenant_id=tenant, value=value))

    return find


SETTLED = "billing_meter_event_settled"
BECAUSE = ("--reason", "a test")


async def test_an_operator_has_rejected_usage_sent_again(
    report, send, counted, events, sandbox, settle, identifier_of, tenant
):
    [meter] = [one for one in sandbox.v1.billing.meters.list().data if one.event_name == "acme_messages"]
    sandbox.v1.billing.meters.deactivate(meter.id)
    await report(5)
    await send()
    sandbox.v1.billing.meters.reactivate(meter.id)
    identifier = await identifier_of(5)
    code, printed = await settle("list", "--tenant", str(tenant))
    assert (code, printed.split()[:4]) == (0, [identifier, "rejected", "acme_messages", "5"])
    assert await settle("settle", identifier, *BECAUSE) == (0, f"{identifier}  resent")
    assert await settle("list", "--tenant", str(tenant)) == (0, "")
    await send()
    assert (await counted(), await events()) == ("5", [(5, "canceled"), (5, "sent")])
    code, printed = await settle("settle", identifier, *BECAUSE)
    assert (code, printed) == (1, "The meter event is canceled; there is nothing to settle.")


@pytest.mark.parametrize(("outcome", "total"), [("counted", "7"), ("resent", "12")])
async def test_an_operator_settles_what_stripe_may_have_counted(
    report, send, counted, events, without_answer, pass_time, sandbox, customer, settle, identifier_of,
    outcome, total, database, tenant,
):  # fmt: skip
    await report(5)
    await without_answer(is_received=True)
    payload = {"stripe_customer_id": customer, "value": "2"}
    sandbox.v1.billing.meter_events.create({"event_name": "acme_messages", "payload": payload})
    await pass_time(25)
    await send()
    identifier = await identifier_of(5)
    code, printed = await settle("settle", identifier, *BECAUSE)
    assert code == 1
    assert printed.startswith("Stripe has counted 7, and 0 was sent without this event of 5.")
    done = await settle("settle", identifier, "--outcome", outcome, *BECAUSE)
    assert done == (0, f"{identifier}  {outcome}")
    await send()
    assert await counted() == total
    assert (await events())[0] == (5, "sent" if outcome == "counted" else "canceled")
    async with database.begin() as db:
        recorded = await db.scalars(select(outbox.c.data).filter_by(tenant_id=tenant))
        [entry] = [one for one in recorded if one.get("action") == SETTLED]
    assert (entry["detail"]["source"], entry["detail"]["outcome"]) == ("operator", outcome)


async def test_there_is_nothing_to_settle_of_an_unknown_meter_event(settle):
    code, printed = await settle("settle", "unknown", *BECAUSE)
    assert (code, printed) == (1, "There is no meter event with this identifier.")
