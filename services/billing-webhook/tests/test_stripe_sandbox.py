"""Against a Stripe that has state and delivers events: duplicated, out of order, or not at all."""

from contextlib import aclosing
from uuid import uuid4

import httpx
import pytest
from billing_webhook.main import create_app
from billing_webhook.plans.catalog import catalog
from billing_webhook.stripe_events.backfill import backfill
from billing_webhook.stripe_events.drift import reconcile
from pydantic import SecretStr
from sandbox.embedded import free_port
from sandbox.stripe.app import create_stripe
from servicekit.http.client import HttpPool
from sqlalchemy import text
from stripe import StripeClient
from testkit.live_server import serving

from .stripe_api import with_stripe

PAYMENT_FAILED, ACTION_REQUIRED = "invoice.payment_failed", "invoice.payment_action_required"


@pytest.fixture
def sandbox():
    with serving(create_stripe()) as url:
        yield url


@pytest.fixture
def shop(sandbox):
    """The official client, as an operator uses it."""
    return StripeClient("sk_test_sandbox", base_addresses={"api": sandbox})


@pytest.fixture
def port():
    return free_port()


@pytest.fixture
def settings(settings, sandbox, shop, port):
    endpoint = shop.v1.webhook_endpoints.create(
        {"url": f"http://127.0.0.1:{port}/webhooks/stripe", "enabled_events": ["*"]}
    )
    changes = {"stripe_webhook_secret": SecretStr(endpoint.secret), "enable_billing": True}
    return with_stripe(settings, (None, sandbox)).model_copy(update=changes)


@pytest.fixture
def app(settings, port):
    """The service behind a socket, for Stripe to call."""
    app = create_app(settings)
    with serving(app, port):
        yield app


@pytest.fixture
def control(sandbox):
    with httpx.Client(base_url=f"{sandbox}/_ctl", timeout=60) as control:
        yield control
        control.delete("/faults")


@pytest.fixture
def price(shop):
    plan = catalog().find("starter")
    return shop.v1.prices.create(
        {
            "currency": "eur",
            "unit_amount": 1900,
            "lookup_key": plan.prices[0].lookup_key,
            "recurring": {"interval": "month"},
            "product_data": {"name": "Starter"},
        }
    )


@pytest.fixture
def subscribe(shop, price):
    """Start a subscription at Stripe, as our own command would."""

    def subscribe(tenant, card="pm_card_visa", **options):
        default = {"default_payment_method": card}
        customer = shop.v1.customers.create({"payment_method": card, "invoice_settings": default})
        items = [{"price": price.id, "quantity": 1}]
        metadata = {"tenant_id": str(tenant)}
        request = {"customer": customer.id, "items": items, "metadata": metadata, **options}
        return shop.v1.subscriptions.create(request)

    return subscribe


def change_seats(shop, subscription, quantity):
    item = subscription["items"].data[0].id
    shop.v1.subscriptions.update(subscription.id, {"items": [{"id": item, "quantity": quantity}]})


@pytest.fixture
def ours(database):
    """Return our row of a subscription at Stripe."""
    query = text("select status, seats, tenant_id from subscriptions where stripe_subscription_id = :id")

    async def ours(subscription):
        async with database.begin() as db:
            row = (await db.execute(query, {"id": subscription.id})).one_or_none()
        return row and (row.status, row.seats, row.tenant_id)

    return ours


@pytest.fixture
def equal(database, settings, until, app):
    """Wait until our subscriptions are as Stripe's."""

    async def equal():
        async with aclosing(HttpPool()) as pool:
            client = settings.stripe(pool)

            async def check():
                return not await reconcile(database, client, settings)

            return await until(check)

    return equal


async def test_a_subscription_is_followed_through_its_life(shop, subscribe, ours, until, app):
    tenant = uuid4()
    subscription = subscribe(tenant, trial_period_days=7)
    assert await until(lambda: ours(subscription)) == ("trialing", 1, tenant)
    change_seats(shop, subscription, 5)

    async def has(*expected):
        return await ours(subscription) == (*expected, tenant)

    assert await until(lambda: has("trialing", 5))
    shop.v1.subscriptions.cancel(subscription.id)
    assert await until(lambda: has("canceled", 5))


async def test_events_duplicated_and_out_of_order_end_in_stripes_state(
    shop, subscribe, control, equal, ours, rows_of, app
):
    faults = [
        {"kind": "duplicate", "type": "customer.subscription.updated", "count": 3},
        {"kind": "reorder", "type": "*", "count": 12, "seconds": 2},
    ]
    control.post("/faults", json={"deliveries": faults}).raise_for_status()
    tenants = [uuid4() for _ in range(3)]
    subscriptions = [subscribe(tenant) for tenant in tenants]
    for quantity in (2, 3, 4):
        for subscription in subscriptions:
            change_seats(shop, subscription, quantity)
    assert await equal()
    assert [await ours(each) for each in subscriptions] == [("active", 4, tenant) for tenant in tenants]
    for tenant in tenants:
        numbers = await rows_of("select seq from billing_events where tenant_id = :t order by seq", t=tenant)
        assert [row.seq for row in numbers] == list(range(1, len(numbers) + 1))


@pytest.fixture
def rows_of(database):
    async def rows(query, **values):
        async with database.begin() as db:
            return (await db.execute(text(query), values)).all()

    return rows


async def test_events_that_were_dropped_are_fetched_later(
    shop, subscribe, control, ours, equal, database, settings, until, rows_of, app
):
    # The service fetches what it has missed at its start, and then after a quarter of an hour.
    await until(lambda: rows_of("select * from stripe_cursors where position is not null"))
    tenant = uuid4()
    control.post("/faults", json={"deliveries": [{"kind": "drop", "count": 50}]}).raise_for_status()
    subscription = subscribe(tenant)
    change_seats(shop, subscription, 7)
    assert await ours(subscription) is None
    async with aclosing(HttpPool()) as pool:
        await backfill(database, settings.stripe(pool), settings)
    assert await equal()
    assert await ours(subscription) == ("active", 7, tenant)


async def test_a_payment_that_needs_3d_secure_is_announced_once(shop, subscribe, until, database, app):
    """Stripe sends two events of one attempt, and the payer got two emails."""
    tenant = uuid4()
    subscribe(tenant, card="pm_card_authenticationRequired", payment_behavior="allow_incomplete")

    async def types(query):
        async with database.begin() as db:
            return set(await db.scalars(text(query), {"tenant": tenant}))

    completed = (
        "select e.type from stripe_events e join stripe_dispatches d on d.event_id = e.id "
        "where d.status = 'completed' and d.tenant_id = :tenant"
    )

    async def are_handled():
        return {PAYMENT_FAILED, ACTION_REQUIRED} <= await types(completed)

    await until(are_handled)
    published = await types("select type from billing_events where tenant_id = :tenant")
    assert {type_ for type_ in published if "payment" in type_} == {f"billing.{ACTION_REQUIRED}.v1"}
