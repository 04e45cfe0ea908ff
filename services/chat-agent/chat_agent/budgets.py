"""Budgets: what a run may use is reserved at billing before a model is called, and settled afterwards."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from uuid import UUID

from prometheus_client import Counter

from chat_agent.clients.billing import BillingClient, QuotaWarning, RequestLimits, RunRef, TenantLimits
from chat_agent.errors import BillingUnavailable, QuotaExceeded
from chat_agent.settings import Settings
from chat_agent.task_set import TaskSet

logger = logging.getLogger(__name__)

LIMIT_CHECKS = Counter("chat_limit_checks_total", "Checks whether a tenant has limits.", ["answered_by"])

START = "start"
# How long a tenant counts as one with limits or without any: for that long, new limits may not be kept.
CACHE_SECONDS = 60.0
MAX_CACHED = 10_000
# How long the process waits for its last settlements; billing does not depend on them.
CLOSE_SECONDS = 5.0


class Budgets:
    """The reservations of the runs of this process."""

    def __init__(self, client: BillingClient, settings: Settings) -> None:
        self.client = client
        self._is_enabled = settings.enable_billing
        self._output_tokens = settings.billing_reserved_output_tokens
        # The limits of a tenant, and until when (monotonic) they hold.
        self._limits: dict[UUID, tuple[TenantLimits, float]] = {}
        # One for all requests of a tenant that come at once.
        self._lookups: dict[UUID, asyncio.Task[TenantLimits]] = {}
        self._settlements = TaskSet()

    async def apply_to(self, tenant_id: UUID) -> bool:
        """Return whether a tenant's runs need reservations; raises BillingUnavailable."""
        return self._is_enabled and (await self._limits_of(tenant_id)).has_limits

    async def request_limits(self, tenant_id: UUID) -> RequestLimits:
        """Return how large a request may be by the tenant's plan; raises BillingUnavailable."""
        return (await self._limits_of(tenant_id)).requests if self._is_enabled else RequestLimits()

    async def _limits_of(self, tenant_id: UUID) -> TenantLimits:
        limits, expires_at = self._limits.get(tenant_id, (None, 0.0))
        is_cached = limits is not None and time.monotonic() < expires_at
        LIMIT_CHECKS.labels("cache" if is_cached else "billing").inc()
        if limits is not None and is_cached:
            return limits
        lookup = self._lookups.get(tenant_id)
        if lookup is None:
            lookup = self._lookups[tenant_id] = asyncio.create_task(self._look_up(tenant_id))
            lookup.add_done_callback(lambda task: self._forget_lookup(tenant_id, task))
        return await asyncio.shield(lookup)

    async def _look_up(self, tenant_id: UUID) -> TenantLimits:
        limits = await self.client.limits_of(tenant_id)
        if len(self._limits) >= MAX_CACHED:
            self._limits.clear()
        self._limits[tenant_id] = limits, time.monotonic() + CACHE_SECONDS
        return limits

    def _forget_lookup(self, tenant_id: UUID, task: asyncio.Task[TenantLimits]) -> None:
        del self._lookups[tenant_id]
        if not task.cancelled():
            task.exception()  # whoever still waits for it raises it

    @asynccontextmanager
    async def reserve_start(
        self, run: RunRef, model: str, is_own_key: Callable[[], Awaitable[bool]]
    ) -> AsyncIterator["StartReservation"]:
        """Reserve the start of a run, and release it when the block raises.

        `is_own_key` says whether its model is called with a key of the tenant's own.

        Raises QuotaExceeded, BillingUnavailable.
        """
        reservation = StartReservation(self, run, is_reserved=await self.apply_to(run.tenant_id))
        try:
            if reservation.is_reserved:
                reservation.warnings = await self.client.reserve(
                    run, START, model, is_own_key=await is_own_key(), messages=1
                )
            yield reservation
        except QuotaExceeded:
            raise
        except BaseException:
            reservation.release()
            raise

    def of_run(self, run: RunRef, attempt: int) -> "RunBudget":
        """Return the budget of an attempt of a run."""
        return RunBudget(self, run, attempt, self._output_tokens)

    def settle(self, run: RunRef, calls: Sequence[str], **amounts: int) -> asyncio.Task[None]:
        """Settle calls in the background: the run need not wait, and is counted by its last event anyway."""
        return self._settlements.start(self._settle(run, calls, amounts))

    async def _settle(self, run: RunRef, calls: Sequence[str], amounts: dict[str, int]) -> None:
        """Settle the first call with the amounts, and then release the others."""
        first, *others = calls
        try:
            await self.client.settle(run, first, **amounts)
            for call in others:
                await self.client.settle(run, call, input_tokens=0, output_tokens=0)
        except BillingUnavailable as error:
            # Billing then goes by what was reserved, until the run is recorded.
            logger.warning("call not settled", extra={"error": type(error).__name__})

    async def close(self) -> None:
        """Wait for the settlements that are under way."""
        await self._settlements.close(CLOSE_SECONDS)


@dataclass
class StartReservation:
    """The reservation of a run that starts, if its tenant has limits."""

    budgets: Budgets
    run: RunRef
    warnings: Sequence[QuotaWarning] = ()
    is_reserved: bool = False

    def release(self) -> None:
        """Release it, since the run has not started."""
        if self.is_reserved:
            self.is_reserved = False
            self.budgets.settle(self.run, [START], messages=0, input_tokens=0, output_tokens=0)


class RunBudget:
    """What one attempt of a run reserves, a call of a model at a time."""

    def __init__(self, budgets: Budgets, run: RunRef, attempt: int, output_tokens: int) -> None:
        self._budgets = budgets
        self._run = run
        self._attempt = attempt
        self._output_tokens = output_tokens
        self._calls = 0
        self._unsettled: set[asyncio.Task[None]] = set()

    async def reserve(
        self, model: str, input_tokens: int, max_tokens: int | None, *, is_own_key: bool = False
    ) -> "CallReservation | None":
        """Reserve a call of a model; none where the tenant has no limits.

        Only its tokens count with a key of the tenant's own.

        Raises QuotaExceeded, BillingUnavailable.
        """
        if not await self._budgets.apply_to(self._run.tenant_id):
            return None
        if self._unsettled:
            # What earlier calls have not used is free for this one.
            await asyncio.wait(self._unsettled)
        self._calls += 1
        output_tokens = self._output_tokens if max_tokens is None else max_tokens
        call = f"{self._attempt}.{self._calls}"
        reservation = CallReservation(self, call, model, output_tokens, is_own_key=is_own_key)
        await self.take(reservation, call, input_tokens, output_tokens)
        return reservation

    async def extend(self, reservation: "CallReservation", output_tokens: int) -> None:
        """Reserve more for an answer that has come to so many tokens; raises QuotaExceeded.

        While billing is away, an answer that has begun is finished.
        """
        while output_tokens > reservation.output_tokens:
            reservation.output_tokens += self._output_tokens
            reservation.extensions += 1
            with suppress(BillingUnavailable):
                await self.take(reservation, reservation.calls()[-1], 0, self._output_tokens)

    async def take(
        self, reservation: "CallReservation", call: str, input_tokens: int, output_tokens: int
    ) -> None:
        """Reserve a call, and release it where it is not known whether that has worked."""
        is_own_key = reservation.is_own_key
        amounts = {"input_tokens": input_tokens, "output_tokens": output_tokens}
        try:
            await self._budgets.client.reserve(
                self._run, call, reservation.model, is_own_key=is_own_key, **amounts
            )
        except QuotaExceeded:
            raise
        except BaseException:
            self.settle([call], 0, 0)
            raise

    def settle(self, calls: Sequence[str], input_tokens: int, output_tokens: int) -> None:
        """Settle the first of some calls with what they have used, and then release the others."""
        task = self._budgets.settle(self._run, calls, input_tokens=input_tokens, output_tokens=output_tokens)
        self._unsettled.add(task)
        task.add_done_callback(self._unsettled.discard)


@dataclass
class CallReservation:
    """What is reserved for one call of a model, and how often that was extended."""

    budget: RunBudget
    call: str
    model: str
    output_tokens: int
    extensions: int = 0
    is_own_key: bool = False

    async def cover(self, output_tokens: int) -> None:
        """Reserve more if the answer has become longer than what is reserved; raises QuotaExceeded."""
        if output_tokens > self.output_tokens:
            await self.budget.extend(self, output_tokens)

    def calls(self) -> list[str]:
        """Return the names of the reservation and its extensions."""
        return [self.call, *(f"{self.call}.{number}" for number in range(1, self.extensions + 1))]

    def settle(self, input_tokens: int, output_tokens: int) -> None:
        """Settle it; 0 releases it."""
        self.budget.settle(self.calls(), input_tokens, output_tokens)


# The budget of the run that the current task works for, and all that it starts: agents as tools, fallbacks.
BUDGET: ContextVar[RunBudget | None] = ContextVar("BUDGET", default=None)
