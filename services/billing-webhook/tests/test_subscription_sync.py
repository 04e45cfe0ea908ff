"""Stripe's state applied to our rows, whatever the order and number of times it comes in."""

import asyncio
import itertools
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
import stripe
from billing_webhook.models import BillingEvent, Customer, EntitlementVersion, Invoice, Subscription
from billing_webhook.subscriptions import sync
from billing_webhook.subscriptions.state import PlanOfPriceNotFound
from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError

from .stripe_objects import MONTH, NOW, a_subscription, an_invoice, an_item


@pytest.fixture
def apply(database, tenant):
    async def apply(subscription, **options):
        async with database.begin() as db:
            return await sync.apply_subscription(db, tenant, subscription, **options)

    return apply


@pytest.fixture
def now_has(database, tenant):
    """Return the tenant's subscription that has not ended."""

    async def current():
        async with database.begin() as db:
            return await sync.current(db, tenant)

    return current


@pytest.fixture
def published(database, tenant):
    async def types():
        query = select(BillingEvent.type).where(BillingEvent.tenant_id == tenant).order_by(BillingEvent.seq)
        async with database.begin() as db:
            return [type_.removeprefix("billing.").removesuffix(".v1") for type_ in await db.scalars(query)]

    return types


BOTH = ["subscription.changed", "entitlements.changed"]


async def test_takes_the_period_from_the_items(apply, now_has):
    """The period was once read from the subscription, where Stripe's API has none since 2025-03-31."""
    metered = an_item(
        "acme_messages", recurring={"usage_type": "metered", "interval": "month", "meter": "mtr_1"}
    )
    assert await apply(a_subscription(items=[metered, an_item("pro", quantity=4)]))
    row = await now_has()
    assert (row.plan_code, row.status, row.seats) == ("pro", "active", 4)
    assert row.current_period_start == datetime.fromtimestamp(NOW, UTC)
    assert row.current_period_end == datetime.fromtimestamp(NOW + MONTH, UTC)
    assert [item["metered"] for item in row.items] == [True, False]


async def test_the_same_state_twice_is_published_once(apply, published, now_has):
    assert await apply(a_subscription()) is True
    assert await apply(a_subscription()) is False
    assert await published() == BOTH
    assert await apply(a_subscription(quantity=2)) is True
    assert await apply(a_subscription(quantity=2)) is False
    assert await published() == BOTH * 2
    assert (await now_has()).version == 2


async def test_what_changes_no_right_is_no_change_of_entitlements(apply, published):
    await apply(a_subscription())
    await apply(a_subscription(cancel_at_period_end=True))
    assert await published() == [*BOTH, "subscription.changed"]


async def test_a_change_of_rights_is_a_new_version_of_the_entitlements(apply, database, tenant):
    async def version():
        async with database.begin() as db:
            return (await db.get_one(EntitlementVersion, tenant)).version

    await apply(a_subscription())
    first = await version()
    await apply(a_subscription(cancel_at_period_end=True))
    assert await version() == first
    await apply(a_subscription("pro"))
    assert await version() == first + 1


async def test_an_older_state_does_not_overwrite_a_newer_one(apply, now_has):
    then = datetime.now(UTC)
    await apply(a_subscription(quantity=5), fetched_at=then)
    assert await apply(a_subscription(quantity=1), fetched_at=then - timedelta(seconds=1)) is False
    assert (await now_has()).seats == 5


async def test_nothing_revives_what_has_ended(apply, now_has, published):
    await apply(a_subscription())
    assert await apply(a_subscription(status="canceled", ended_at=NOW))
    assert await apply(a_subscription(status="active")) is False
    row = await now_has()
    assert (row.plan_code, row.status, row.stripe_subscription_id) == ("free", "active", None)
    assert await published() == [*BOTH, *BOTH, "access.changed", *BOTH]


async def test_a_subscription_that_is_new_and_over_leaves_the_plan_as_it_is(apply, now_has, database, tenant):
    async with database.begin() as db:
        assert await sync.ensure_free(db, tenant) is True
        assert await sync.ensure_free(db, tenant) is False
    await apply(a_subscription(status="canceled", ended_at=NOW))
    assert (await now_has()).plan_code == "free"


async def test_a_tenant_has_one_subscription_at_a_time(apply, database, tenant):
    await apply(a_subscription())
    with pytest.raises(sync.SecondSubscription):
        await apply(a_subscription(id="sub_2"))
    with pytest.raises(IntegrityError):
        async with database.begin() as db:
            db.add(Subscription(tenant_id=tenant, plan_code="pro", status="active", seats=1, items=[]))


async def test_appliers_of_one_tenant_follow_each_other(apply, database, published):
    states = [a_subscription(quantity=number % 3 + 1) for number in range(12)]
    await asyncio.gather(*(apply(state) for state in states))
    changes = await published()
    async with database.begin() as db:
        assert await db.scalar(select(func.count()).select_from(Subscription)) == 1
        seqs = list(await db.scalars(select(BillingEvent.seq).order_by(BillingEvent.seq)))
    assert seqs == [*range(1, len(changes) + 1)]


async def test_knows_a_plan_by_price_map_lookup_key_or_metadata(apply, now_has):
    unnamed = an_item("price_of_ours", lookup_key=None)
    with pytest.raises(PlanOfPriceNotFound):
        await apply(a_subscription(items=[unnamed]))
    assert await apply(a_subscription(items=[unnamed]), price_map={"pro": "price_price_of_ours"})
    assert (await now_has()).plan_code == "pro"
    named = an_item("price_of_ours", lookup_key=None, metadata={"plan_code": "starter"})
    assert await apply(a_subscription(items=[named]))
    assert (await now_has()).plan_code == "starter"


async def test_grace_counts_from_the_failed_invoice(apply, now_has):
    await apply(a_subscription())
    failed = an_invoice(created=NOW - 86400)
    await apply(a_subscription(status="past_due", latest_invoice=failed.to_dict()))
    since = (await now_has()).past_due_since
    assert since == datetime.fromtimestamp(NOW - 86400, UTC)
    await apply(a_subscription(status="past_due", quantity=2, latest_invoice=an_invoice().to_dict()))
    assert (await now_has()).past_due_since == since
    await apply(a_subscription(status="active"))
    assert (await now_has()).past_due_since is None


async def test_a_deleted_customer_takes_its_subscription_along(apply, database, tenant, now_has):
    customer = stripe.Customer.construct_from({"id": "cus_1", "email": "a@example.com"}, "sk_test")
    async with database.begin() as db:
        assert await sync.apply_customer(db, tenant, customer) is True
        assert await sync.apply_customer(db, tenant, customer) is False
    await apply(a_subscription())
    async with database.begin() as db:
        assert await sync.apply_customer_deleted(db, "cus_1") is True
        assert await sync.apply_customer_deleted(db, "cus_1") is False
        assert await sync.tenant_of_customer(db, "cus_1") == tenant
        assert await sync.tenant_of_customer(db, "cus_2") is None
    assert (await now_has()).plan_code == "free"
    async with database.begin() as db:
        db.add(Customer(stripe_customer_id="cus_2", tenant_id=tenant))


async def test_a_subscription_that_stripe_has_not_any_more_has_ended(apply, database, tenant, now_has):
    await apply(a_subscription())
    async with database.begin() as db:
        assert await sync.apply_subscription_deleted(db, tenant, "sub_1") is True
        assert await sync.apply_subscription_deleted(db, tenant, "sub_1") is False
        assert await sync.apply_subscription_deleted(db, uuid4(), "sub_1") is False
    assert (await now_has()).plan_code == "free"


STAGES = [
    {"status": "draft", "number": None},
    {"status": "open"},
    {"status": "open", "attempt_count": 1, "next_payment_attempt": NOW + 86400},
    {"status": "paid", "attempt_count": 2, "amount_paid": 1900, "amount_remaining": 0},
]


async def test_an_invoice_is_paid_once_and_every_failure_is_published(database, tenant, published):
    for stage in STAGES:
        for _ in range(2):
            async with database.begin() as db:
                await sync.apply_invoice(db, tenant, an_invoice(**stage))
    assert await published() == ["invoice.payment_failed", "invoice.paid"]
    async with database.begin() as db:
        [row] = await db.scalars(select(Invoice))
    assert (row.status, row.amount_paid, row.number) == ("paid", 1900, "ACME-0001")
    assert (row.stripe_subscription_id, row.version) == ("sub_1", 4)


@pytest.mark.parametrize("order", [*itertools.permutations(range(1, 4))])
async def test_a_paid_invoice_stays_paid_in_whichever_order_its_states_come(database, tenant, order):
    for number in order:
        async with database.begin() as db:
            await sync.apply_invoice(db, tenant, an_invoice(**STAGES[number]))
    async with database.begin() as db:
        [row] = await db.scalars(select(Invoice))
    assert row.status == "paid"
