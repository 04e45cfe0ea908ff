"""The state of a tenant's billing, in the words of those who need something of it."""

from datetime import UTC, datetime
from decimal import Decimal
from uuid import UUID, uuid4

from billing_webhook.audit import Actor
from billing_webhook.entitlements import budgets, grants, reservations
from billing_webhook.entitlements.run_limits import RunLimits
from billing_webhook.entitlements.schemas import NewBudget, ReservationRequest
from billing_webhook.models import Customer
from billing_webhook.settings import Settings
from billing_webhook.stripe_events import billing_sync
from billing_webhook.stripe_events.envelope import Envelope
from billing_webhook.stripe_events.handling import Handling
from billing_webhook.usage import runs
from servicekit.app import Resources
from servicekit.events.outbox import ReceivedEvent
from stripe import StripeObject
from testkit.pact_provider import State
from testkit.pacts import TENANT, USER

from ..stripe_objects import NOW, a_subscription, an_invoice

DAY = 86400
RUN = UUID("a0000000-0000-4000-8000-000000000001")
MEMBER = Actor(subject=USER, session_id="5e550000-0000-4000-8000-000000000001", request_id="a-request")


async def create_budget(resources: Resources, budget: NewBudget) -> None:
    async with resources.database.begin() as db:
        await budgets.create(db, MEMBER, TENANT, budget)


async def a_tenant_with_a_budget(resources: Resources) -> None:
    await create_budget(resources, NewBudget(unit="tokens", limit=Decimal(1_000_000)))


async def a_tenant_with_a_soft_budget_that_is_exceeded(resources: Resources) -> None:
    await create_budget(resources, NewBudget(unit="messages", limit=Decimal(0), kind="soft"))


async def a_tenant_with_a_daily_budget_that_is_used_up(resources: Resources) -> None:
    await create_budget(resources, NewBudget(unit="messages", limit=Decimal(0), interval="day"))


async def a_reserved_call(resources: Resources) -> None:
    await a_tenant_with_a_budget(resources)
    request = ReservationRequest(
        user_id=USER, agent="triage", model="sandbox-large", input_tokens=500, output_tokens=1024
    )
    async with resources.database.begin() as db:
        await reservations.reserve(db, RunLimits(Settings.of(resources)), TENANT, RUN, "1.1", request)


async def a_feature_granted_by_an_operator(resources: Resources) -> None:
    async with resources.database.begin() as db:
        await grants.create(
            db,
            TENANT,
            "messages",
            limit=None,
            priority=0,
            expires_at=None,
            reason="a pilot",
            granted_by="ops",
        )


async def apply(resources: Resources, fetched: StripeObject, type_: str) -> None:
    """Apply an object of Stripe, as the handler of an event of this type does."""
    body = {
        "id": f"evt_{uuid4().hex}",
        "object": "event",
        "type": type_,
        "created": NOW,
        "livemode": False,
        "data": {"object": fetched.to_dict()},
    }
    about = Handling("billing_sync", Envelope.model_validate(body), TENANT, fetched, datetime.now(UTC), {})
    async with resources.database.begin() as db:
        await billing_sync.apply(db, about)


async def a_trial_is_ending(resources: Resources) -> None:
    trial = a_subscription(status="trialing", trial_end=NOW + 3 * DAY)
    await apply(resources, trial, "customer.subscription.trial_will_end")


async def a_payment_has_failed(resources: Resources) -> None:
    failed = an_invoice(attempt_count=1, next_payment_attempt=NOW + DAY)
    await apply(resources, failed, "invoice.payment_failed")


async def a_payment_needs_an_action(resources: Resources) -> None:
    await apply(resources, an_invoice(attempt_count=1), "invoice.payment_action_required")


async def a_payment_is_overdue(resources: Resources) -> None:
    failed = an_invoice(created=NOW - 8 * DAY).to_dict()
    due = a_subscription(status="past_due", latest_invoice=failed)
    await apply(resources, due, "customer.subscription.updated")


async def a_subscription_was_canceled(resources: Resources) -> None:
    await apply(resources, a_subscription(cancel_at_period_end=True), "customer.subscription.updated")


async def usage_has_reached_a_limit(resources: Resources) -> None:
    await create_budget(resources, NewBudget(unit="messages", limit=Decimal(1)))
    model = {"model": "sandbox-large", "requests": 1, "input_tokens": 5, "output_tokens": 7}
    data = {
        "run_id": str(RUN),
        "conversation_id": str(RUN),
        "tenant_id": str(TENANT),
        "user_id": USER,
        "agent": "triage",
        "usage": [{**model, "cached_tokens": 0, "reasoning_tokens": 0}],
        "estimated": False,
        **dict.fromkeys(("started_at", "completed_at"), datetime.now(UTC).isoformat()),
    }
    received = ReceivedEvent(
        id=uuid4(),
        type="chat.run.completed.v1",
        source="acme/chat-agent",
        subject=f"run:{RUN}",
        time=datetime.now(UTC),
        tenant_id=TENANT,
        data=data,
    )
    async with resources.database.begin() as db:
        await runs.record(db, received)


async def a_customer_with_a_billing_address(resources: Resources) -> None:
    async with resources.database.begin() as db:
        db.add(Customer(stripe_customer_id="cus_1", tenant_id=TENANT, billing_email="bills@example.com"))


async def nothing(_resources: Resources) -> None:
    """Make nothing."""


STATES: dict[str, State] = {
    "a member has created a budget": a_tenant_with_a_budget,
    "an operator has granted a feature": a_feature_granted_by_an_operator,
    "a tenant with a budget": a_tenant_with_a_budget,
    "a tenant with a soft budget that is exceeded": a_tenant_with_a_soft_budget_that_is_exceeded,
    "a tenant with a daily budget that is used up": a_tenant_with_a_daily_budget_that_is_used_up,
    "a call that is reserved": a_reserved_call,
    "no reservation": nothing,
    "a trial is ending": a_trial_is_ending,
    "a payment has failed": a_payment_has_failed,
    "a payment needs an action": a_payment_needs_an_action,
    "a payment is overdue": a_payment_is_overdue,
    "a subscription was canceled": a_subscription_was_canceled,
    "usage has reached a limit": usage_has_reached_a_limit,
    "a customer with a billing address": a_customer_with_a_billing_address,
}
