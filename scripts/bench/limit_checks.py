"""Checks of limits as chat-agent makes them: by its cache, or at billing-webhook where there are limits."""

import math
from collections.abc import Sequence
from uuid import UUID, uuid4

from chat_agent.budgets import LIMIT_CHECKS, Budgets
from chat_agent.clients.billing import SCOPE, BillingClient, RunRef
from chat_agent.settings import Settings
from servicekit.http.client import HttpPool
from servicekit.http.service_tokens import ServiceClient, ServiceTokens

AUDIENCE = "billing-webhook"
MODEL = "gpt-5.1"
TIMEOUT_SECONDS = 60.0


class IssuedToken(ServiceTokens):
    """One token that was issued before, in place of those of auth."""

    def __init__(self, http: HttpPool, token: str) -> None:
        super().__init__(http, "", "chat-agent", None)
        self._token = token

    async def _fetch(self, _audience: str, _scope: str) -> tuple[str, float]:
        return self._token, math.inf


class LimitChecks:
    """chat-agent's budgets, which ask a billing-webhook that runs."""

    def __init__(self, http: HttpPool, internal_url: str, token: str, tenants: Sequence[UUID]) -> None:
        client = ServiceClient(http, IssuedToken(http, token), internal_url, AUDIENCE, SCOPE)
        settings = Settings.model_construct(enable_billing=True)
        self._budgets = Budgets(BillingClient(client, TIMEOUT_SECONDS), settings)
        self._tenants = tenants

    async def check(self, number: int) -> None:
        """Check whether the run of a tenant needs reservations."""
        await self._budgets.apply_to(self._tenants[number % len(self._tenants)])

    async def start(self, number: int) -> None:
        """Check the limits of a run that starts, and reserve it where its tenant has some."""
        tenant = self._tenants[number % len(self._tenants)]
        async with self._budgets.reserve_start(RunRef(tenant, uuid4(), "user:ann", "triage"), MODEL):
            pass


def hit_rate() -> str:
    """Describe how many of this process's checks were answered by its cache."""
    answered = {
        sample.labels["answered_by"]: sample.value
        for metric in LIMIT_CHECKS.collect()
        for sample in metric.samples
        if sample.name.endswith("_total")
    }
    total = sum(answered.values())
    hits = answered.get("cache", 0)
    return f"chat-agent's cache answered {hits:.0f} of {total:.0f} checks: hit rate {hits / total:.1%}"
