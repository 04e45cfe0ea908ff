"""Which access a subscription gives, by its status and the day."""

from datetime import UTC, datetime, timedelta

import pytest
from billing_webhook.subscriptions.access import Standing, access

START = datetime(2026, 3, 1, tzinfo=UTC)


def day(number: float) -> datetime:
    return START + timedelta(days=number)


ACTIVE = Standing(status="active")
TRIAL = Standing(status="trialing", trial_end=day(7))
PAST_DUE = Standing(status="past_due", past_due_since=day(0))
PAUSED = Standing(status="active", pause_behavior="void")
PAUSED_FOR_A_WEEK = Standing(status="active", pause_behavior="void", pause_resumes_at=day(7))
ENDS_ON_DAY_30 = Standing(status="active", cancel_at=day(30))


@pytest.mark.parametrize(
    ("standing", "table"),
    [
        (ACTIVE, {0: "full", 400: "full"}),
        (TRIAL, {0: "full", 6.9: "full"}),
        # Until Stripe says that it has ended, as it does within the hour.
        (TRIAL, {7: "full"}),
        (Standing(status="paused"), {0: "read_only"}),
        (PAST_DUE, {0: "full", 6.99: "full", 7: "read_only", 30: "read_only"}),
        (Standing(status="past_due"), {0: "full", 30: "full"}),
        (Standing(status="unpaid"), {0: "free"}),
        (Standing(status="canceled", ended_at=day(3)), {0: "free", 4: "free"}),
        (Standing(status="active", ended_at=day(3)), {2: "full", 3: "free"}),
        (Standing(status="incomplete"), {0: "free", 1: "free"}),
        (Standing(status="incomplete_expired"), {0: "free"}),
        (PAUSED, {0: "read_only", 90: "read_only"}),
        (PAUSED_FOR_A_WEEK, {0: "read_only", 6.9: "read_only", 7: "full"}),
        (ENDS_ON_DAY_30, {0: "full", 29.9: "full", 30: "free"}),
        # Who has canceled and does not pay either.
        (
            Standing(status="past_due", past_due_since=day(0), cancel_at=day(10)),
            {1: "full", 8: "read_only", 10: "free"},
        ),
        # What Stripe may say some day.
        (Standing(status="frozen"), {0: "free"}),
    ],
)
def test_access_by_status_and_day(standing, table):
    assert {number: access(standing, day(number)).value for number in table} == table
