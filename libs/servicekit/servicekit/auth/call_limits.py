"""How often each person, and each tenant, may call the routes of a service.

Every route for authenticated callers counts as a read or a write, so that none is without a limit; a costly
one may count as something else besides (`dependencies.rate_limited`). All replicas count together, in Redis.
While Redis is away each process counts by itself: calls stay bounded, and what needs nothing
else of Redis goes on.
"""

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Literal

from pydantic import BaseModel, ConfigDict, PositiveInt
from starlette.requests import HTTPConnection

from servicekit.auth.tokens import Principal
from servicekit.rate_limits import Limits, LimitsUnavailable, Quota, Rate, RateLimited, tenant_key

Kind = Literal["reads", "writes", "searches"]

SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
PER_SECONDS = 60.0
# After a failure Redis is not asked again for so long: each call would wait for it.
OUTAGE_SECONDS = 1.0
MAX_KEYS = 20_000


class CallLimits(BaseModel):
    """Calls a minute, of one person and of all people of a tenant together."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    reads_per_person: PositiveInt = 1_200
    reads_per_tenant: PositiveInt = 60_000
    writes_per_person: PositiveInt = 600
    writes_per_tenant: PositiveInt = 30_000

    def of(self, kind: Kind) -> tuple[int, int]:
        """Return the limit of a person and that of a tenant; KeyError when the service has none."""
        table = self.model_dump()
        return table[f"{kind}_per_person"], table[f"{kind}_per_tenant"]


class CallRates:
    """Enforces the call limits of a service."""

    def __init__(self, service: str, limits: Limits, table: CallLimits) -> None:
        self._service = service
        self._limits = limits
        self._table = table
        self._alone = LocalRates()
        self._away_until = 0.0

    async def take(self, caller: Principal, kind: Kind) -> None:
        """Count a call; raises RateLimited."""
        person, tenant = self._table.of(kind)
        what = (self._service, kind)
        await self.admit(
            Rate(tenant_key(caller.tenant_id, *what, caller.user_id), person, PER_SECONDS),
            Rate(tenant_key(caller.tenant_id, *what), tenant, PER_SECONDS),
        )

    async def admit(self, *rates: Rate) -> None:
        """Count one call against each rate, in Redis or in this process; raises RateLimited."""
        if time.monotonic() >= self._away_until:
            try:
                await self._limits.admit(*rates)
            except LimitsUnavailable:
                self._away_until = time.monotonic() + OUTAGE_SECONDS
            else:
                return
        self._alone.take(*rates)


class LocalRates:
    """Rate limits of this process, used while Redis is down: the time when each key's bucket is full."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._full_at: OrderedDict[str, float] = OrderedDict()
        self._clock = clock

    def take(self, *rates: Rate) -> None:
        """Count one against each rate, or none; raises RateLimited."""
        now = self._clock()
        full = {
            rate.key: max(self._full_at.get(rate.key, now), now) + rate.per / rate.limit for rate in rates
        }
        for rate in rates:
            if (early := full[rate.key] - now - rate.per) > 0:
                raise RateLimited(Quota(rate.limit, 0, early, rate.per))
        for key, moment in full.items():
            self._full_at[key] = moment
            self._full_at.move_to_end(key)
        while len(self._full_at) > MAX_KEYS:
            self._full_at.popitem(last=False)


async def count(connection: HTTPConnection, caller: Principal, kind: Kind | None = None) -> None:
    """Count a call of a caller, by default as what its method says; raises RateLimited."""
    rates: CallRates = connection.app.state.resources.rates
    await rates.take(caller, kind or ("reads" if connection.scope["method"] in SAFE else "writes"))
