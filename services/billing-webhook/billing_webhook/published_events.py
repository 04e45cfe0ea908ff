"""Events that this service publishes."""

from typing import ClassVar, Literal
from uuid import UUID

from pydantic import AwareDatetime
from servicekit.events.outbox import Event

from billing_webhook.quantities import Quantity


class UsageThresholdReached(Event):
    """What a tenant used has reached a share of a limit; each share is published once in a period."""

    type: ClassVar[str] = "billing.usage.threshold_reached.v1"

    tenant_id: UUID
    feature: str
    scope: str
    percent: int
    used: Quantity
    limit: Quantity
    kind: Literal["hard", "soft"]
    period_start: AwareDatetime
    resets_at: AwareDatetime
