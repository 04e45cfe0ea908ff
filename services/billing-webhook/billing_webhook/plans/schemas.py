"""Responses of the plans route."""

from pydantic import BaseModel

from billing_webhook.plans.catalog import Limit, MeteredPrice, Plan, Price, RequestLimits


class PlanSummary(BaseModel):
    """A plan that a tenant can have."""

    code: str
    name: str
    trial_days: int
    prices: list[Price]
    metered_prices: list[MeteredPrice]
    features: dict[str, bool | Limit]
    requests: RequestLimits

    @classmethod
    def of(cls, plan: Plan) -> "PlanSummary":
        """Describe a plan."""
        return cls.model_validate(plan, from_attributes=True)


class Plans(BaseModel):
    """All plans, the least first."""

    plans: list[PlanSummary]
