"""The state of a tenant's billing, in the words of those who need something of it."""

from decimal import Decimal
from uuid import UUID

from billing_webhook.audit import Actor
from billing_webhook.entitlements import budgets, grants, reservations
from billing_webhook.entitlements.schemas import NewBudget, ReservationRequest
from billing_webhook.settings import Settings
from servicekit.app import Resources
from testkit.pact_provider import State
from testkit.pacts import TENANT, USER

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
        await reservations.reserve(db, Settings.of(resources), TENANT, RUN, "1.1", request)


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
}
