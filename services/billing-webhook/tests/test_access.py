"""Which access a subscription gives, by its status and the day; and each change is published once."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from billing_webhook.access import access_at, access_reason_at, next_access_change
from billing_webhook.models import Subscription
from billing_webhook.subscriptions import sync
from billing_webhook.subscriptions.access_worker import POLL_SECONDS, AccessWorker
from servicekit.database import Database
from testkit.eventually import time_limit

from .stripe_objects import NOW, a_subscription, an_invoice

START = datetime(2026, 3, 1, tzinfo=UTC)


def day(number: float) -> datetime:
    return START + timedelta(days=number)


ACTIVE = {"status": "active"}
TRIAL = {"status": "trialing", "trial_end": day(7)}
PAST_DUE = {"status": "past_due", "past_due_since": day(0)}
PAUSED = {"status": "active", "pause_behavior": "void"}
PAUSED_FOR_A_WEEK = {**PAUSED, "pause_resumes_at": day(7)}
ENDS_ON_DAY_30 = {"status": "active", "cancel_at": day(30)}
ENDED_ON_DAY_7 = {"status": "canceled", "ended_at": day(7.01)}


@pytest.mark.parametrize(
    ("state", "table"),
    [
        (ACTIVE, {0: "full", 400: "full"}),
        (TRIAL, {0: "full", 6.9: "full"}),
        # Until Stripe says that it has ended, as it does within the hour.
        (TRIAL, {7: "full"}),
        ({"status": "paused"}, {0: "read_only"}),
        (PAST_DUE, {0: "full", 6.99: "full", 7: "read_only", 30: "read_only"}),
        ({"status": "past_due"}, {0: "full", 30: "full"}),
        ({"status": "unpaid"}, {0: "free"}),
        ({"status": "unpaid", "pause_behavior": "void"}, {0: "free"}),
        ({"status": "canceled", "ended_at": day(3)}, {0: "free", 4: "free"}),
        ({"status": "active", "ended_at": day(3)}, {2: "full", 3: "free"}),
        ({"status": "incomplete"}, {0: "free", 1: "free"}),
        ({"status": "incomplete_expired"}, {0: "free"}),
        (PAUSED, {0: "read_only", 90: "read_only"}),
        (PAUSED_FOR_A_WEEK, {0: "read_only", 6.9: "read_only", 7: "full"}),
        (ENDS_ON_DAY_30, {0: "full", 29.9: "full", 30: "free"}),
        # Who has canceled and does not pay either.
        ({**PAST_DUE, "cancel_at": day(10)}, {1: "full", 8: "read_only", 10: "free"}),
        # What Stripe may say some day.
        ({"status": "frozen"}, {0: "free"}),
    ],
)
def test_access_by_status_and_day(state, table):
    subscription = Subscription(**state)
    assert {number: access_at(subscription, day(number)).value for number in table} == table


@pytest.mark.parametrize(
    ("state", "table"),
    [
        (PAST_DUE, {0: "payment_due", 7: "payment_overdue"}),
        ({**PAST_DUE, "pause_behavior": "void"}, {0: "paused", 7: "paused"}),
        ({"status": "unpaid"}, {0: "unpaid"}),
        ({"status": "paused", "trial_end": day(7)}, {8: "trial_paused"}),
        ({**ENDED_ON_DAY_7, "trial_end": day(7)}, {8: "trial_ended"}),
        # Canceled by the tenant: at the end of the trial, in it, and long after it.
        ({**ENDED_ON_DAY_7, "trial_end": day(7), "cancel_at_period_end": True}, {8: "ended"}),
        ({**ENDED_ON_DAY_7, "trial_end": day(14)}, {8: "ended"}),
        ({**ENDED_ON_DAY_7, "trial_end": day(1)}, {8: "ended"}),
        ({"status": "incomplete_expired", "ended_at": day(1)}, {8: "incomplete"}),
    ],
)
def test_why_access_is_as_it_is(state, table):
    subscription = Subscription(**state)
    assert {number: access_reason_at(subscription, day(number)).value for number in table} == table


@pytest.mark.parametrize(
    ("state", "table"),
    [
        (ACTIVE, {0: None}),
        (TRIAL, {0: None}),
        (PAST_DUE, {0: 7, 7: None}),
        ({**PAST_DUE, "cancel_at": day(10)}, {0: 7, 7: 10, 10: None}),
        (PAUSED_FOR_A_WEEK, {0: 7, 7: None}),
        ({**PAST_DUE, "ended_at": day(1)}, {2: None}),
    ],
)
def test_when_time_alone_changes_access(state, table):
    subscription = Subscription(**state)
    expected = {number: None if then is None else day(then) for number, then in table.items()}
    assert {number: next_access_change(subscription, day(number)) for number in table} == expected


CHANGES = """
    select data from billing_events
    where type = 'billing.access.changed.v1' and tenant_id = :tenant order by seq
"""


@pytest.fixture
def changes(rows, tenant):
    """List the changes of access that were published: their access and reason."""

    async def published_changes():
        return [(data["access"], data["reason"]) for (data,) in await rows(CHANGES, tenant=tenant)]

    return published_changes


DAYS = timedelta(days=1)
OVERDUE = ("read_only", "payment_overdue")


def a_due_payment(since):
    """Return the columns of a subscription in its grace period, as stored when the payment failed."""
    return {
        "status": "past_due",
        "past_due_since": since,
        "access_reason": "payment_due",
        "access_changes_at": since + 7 * DAYS,
    }


@pytest.fixture
def apply(app, tenant):
    """Apply a state of the subscription, as Stripe has it."""

    async def apply_state(**state):
        async with app.state.resources.database.begin() as db:
            await sync.apply_subscription(db, tenant, a_subscription(**state))

    return apply_state


async def test_each_step_of_a_payment_that_stays_due_is_published_once(apply, changes):
    due = {"status": "past_due", "latest_invoice": an_invoice().to_dict()}
    for state in ({}, due, {**due, "quantity": 2}, {"status": "unpaid"}, {"status": "active"}):
        await apply(**state)
    assert await changes() == [("full", "payment_due"), ("free", "unpaid"), ("full", "paid")]


async def test_a_trial_that_ends_without_a_card_says_so(apply, changes):
    trial = {"trial_end": NOW - 60}
    await apply(status="trialing", **trial)
    await apply(status="canceled", ended_at=NOW - 50, **trial)
    assert await changes() == [("free", "trial_ended")]


async def test_the_end_of_a_grace_period_is_published_at_its_time(app, subscribe, changes, until):
    then = datetime.now(UTC) + timedelta(seconds=1)
    await subscribe(**a_due_payment(then - 7 * DAYS))
    # As what stores it in this process does.
    app.state.resources.database.wakeup("subscriptions").set()
    assert await until(changes) == [OVERDUE]
    assert datetime.now(UTC) >= then


async def test_a_payment_that_fails_wakes_the_worker(settings, tenant):
    database = Database(settings.database_url, name="replica")
    worker = AccessWorker(database)
    unpaid = an_invoice(created=int(datetime.now(UTC).timestamp())).to_dict()
    async with database.begin() as db:
        await sync.apply_subscription(db, tenant, a_subscription(status="past_due", latest_invoice=unpaid))
    await database.close()
    # Long before it would look by itself.
    async with time_limit(POLL_SECONDS / 4):
        await worker.idle(POLL_SECONDS)


async def test_what_came_due_while_the_service_was_down_is_published_once_by_all_replicas(
    settings, subscribe, changes
):
    await subscribe(**a_due_payment(datetime.now(UTC) - 9 * DAYS))
    replicas = [Database(settings.database_url, name="replica") for _ in range(3)]
    await asyncio.gather(*(AccessWorker(database).step() for database in replicas))
    for database in replicas:
        await AccessWorker(database).step()
        await database.close()
    assert await changes() == [OVERDUE]


async def test_sleeps_until_the_next_change(app, subscribe, execute):
    worker = AccessWorker(app.state.resources.database)
    assert await worker.step() == POLL_SECONDS
    await subscribe(**a_due_payment(datetime.now(UTC) + timedelta(seconds=30) - 7 * DAYS))
    assert 0 < await worker.step() <= 30
