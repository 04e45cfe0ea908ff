"""Which access a subscription gives, by its status and the day."""

from datetime import UTC, datetime, timedelta

import pytest
from billing_webhook.access import AccessState, access

START = datetime(2026, 3, 1, tzinfo=UTC)


def day(number: float) -> datetime:
    return START + timedelta(days=number)


ACTIVE = AccessState(status="active")
TRIAL = AccessState(status="trialing", trial_end=day(7))
PAST_DUE = AccessState(status="past_due", past_due_since=day(0))
PAUSED = AccessState(status="active", pause_behavior="void")
PAUSED_FOR_A_WEEK = AccessState(status="active", pause_behavior="void", pause_resumes_at=day(7))
ENDS_ON_DAY_30 = AccessState(status="active", cancel_at=day(30))


@pytest.mark.parametrize(
    ("state", "table"),
    [
        (ACTIVE, {0: "full", 400: "full"}),
        (TRIAL, {0: "full", 6.9: "full"}),
        # Until Stripe says that it has ended, as it does within the hour.
        (TRIAL, {7: "full"}),
        (AccessState(status="paused"), {0: "read_only"}),
        (PAST_DUE, {0: "full", 6.99: "full", 7: "read_only", 30: "read_only"}),
        (AccessState(status="past_due"), {0: "full", 30: "full"}),
        (AccessState(status="unpaid"), {0: "free"}),
        (AccessState(status="canceled", ended_at=day(3)), {0: "free", 4: "free"}),
        (AccessState(status="active", ended_at=day(3)), {2: "full", 3: "free"}),
        (AccessState(status="incomplete"), {0: "free", 1: "free"}),
        (AccessState(status="incomplete_expired"), {0: "free"}),
        (PAUSED, {0: "read_only", 90: "read_only"}),
        (PAUSED_FOR_A_WEEK, {0: "read_only", 6.9: "read_only", 7: "full"}),
        (ENDS_ON_DAY_30, {0: "full", 29.9: "full", 30: "free"}),
        # Who has canceled and does not pay either.
        (
            AccessState(status="past_due", past_due_since=day(0), cancel_at=day(10)),
            {1: "full", 8: "read_only", 10: "free"},
        ),
        # What Stripe may say some day.
        (AccessState(status="frozen"), {0: "free"}),
    ],
)
def test_access_by_status_and_day(state, table):
    assert {number: access(state, day(number)).value for number in table} == table
