"""Budgets: what a run may use is reserved at billing before a model is called, and settled afterwards."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from chat_agent.clients.billing import BillingClient, QuotaWarning, RunRef
from chat_agent.errors import BillingUnavailable
from chat_agent.settings import Settings

logger = logging.getLogger(__name__)

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
        # Whether a tenant has limits, and until when (monotonic) that holds.
        self._has_limits: dict[UUID, tuple[bool, float]] = {}
        self._settlements: set[asyncio.Task[None]] = set()

    async def apply_to(self, tenant_id: UUID) -> bool:
        """Return whether a tenant's runs need reservations; raises BillingUnavailable."""
        if not self._is_enabled:
            return False
        has_limits, expires_at = self._has_limits.get(tenant_id, (True, 0.0))
        if time.monotonic() < expires_at:
            return has_limits
        has_limits = await self.client.has_limits(tenant_id)
        if len(self._has_limits) >= MAX_CACHED:
            self._has_limits.clear()
        self._has_limits[tenant_id] = has_limits, time.monotonic() + CACHE_SECONDS
        return has_limits

    @asynccontextmanager
    async def reserve_start(self, run: RunRef, model: str) -> AsyncIterator["StartReservation"]:
        """Reserve the start of a run, and release it when the block raises.

        Raises QuotaExceeded, BillingUnavailable.
        """
        reservation = StartReservation(self, run)
        if await self.apply_to(run.tenant_id):
            reservation.warnings = await self.client.reserve(run, START, model, messages=1)
            reservation.is_held = True
        try:
            yield reservation
        except BaseException:
            reservation.release()
            raise

    def of_run(self, run: RunRef, attempt: int) -> "RunBudget":
        """Return the budget of an attempt of a run."""
        return RunBudget(self, run, attempt, self._output_tokens)

    def settle(self, run: RunRef, call: str, **amounts: int) -> asyncio.Task[None]:
        """Settle a call in the background: the run need not wait, and is counted by its last event anyway."""
        task = asyncio.create_task(logging_failures(self.client.settle(run, call, **amounts)))
        self._settlements.add(task)
        task.add_done_callback(self._settlements.discard)
        return task

    async def close(self) -> None:
        """Wait for the settlements that are under way."""
        if self._settlements:
            await asyncio.wait(self._settlements, timeout=CLOSE_SECONDS)


@dataclass
class StartReservation:
    """The reservation of a run that starts, if its tenant has limits."""

    budgets: Budgets
    run: RunRef
    warnings: Sequence[QuotaWarning] = ()
    is_held: bool = False

    def release(self) -> None:
        """Release it, since the run has not started."""
        if self.is_held:
            self.is_held = False
            self.budgets.settle(self.run, START, messages=0, input_tokens=0, output_tokens=0)


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
        self, model: str, input_tokens: int, max_tokens: int | None
    ) -> "CallReservation | None":
        """Reserve a call of a model; none where the tenant has no limits.

        Raises QuotaExceeded, BillingUnavailable.
        """
        if not await self._budgets.apply_to(self._run.tenant_id):
            return None
        if self._unsettled:
            # What earlier calls have not used is free for this one.
            await asyncio.wait(self._unsettled)
        self._calls += 1
        call = f"{self._attempt}.{self._calls}"
        output_tokens = self._output_tokens if max_tokens is None else max_tokens
        await self._budgets.client.reserve(
            self._run, call, model, input_tokens=input_tokens, output_tokens=output_tokens
        )
        return CallReservation(self, call)

    def settle(self, call: str, input_tokens: int, output_tokens: int) -> None:
        """Settle a call with what it has used."""
        amounts = {"input_tokens": input_tokens, "output_tokens": output_tokens}
        task = self._budgets.settle(self._run, call, **amounts)
        self._unsettled.add(task)
        task.add_done_callback(self._unsettled.discard)


@dataclass(frozen=True)
class CallReservation:
    """What is reserved for one call of a model."""

    budget: RunBudget
    call: str

    def settle(self, input_tokens: int, output_tokens: int) -> None:
        """Settle it; 0 releases it."""
        self.budget.settle(self.call, input_tokens, output_tokens)


async def logging_failures(settlement: Coroutine[Any, Any, None]) -> None:
    """Settle, or log why not: billing then goes by what was reserved, until the run is recorded."""
    try:
        await settlement
    except BillingUnavailable as error:
        logger.warning("call not settled", extra={"error": type(error).__name__})


# The budget of the run that the current task works for, and all that it starts: agents as tools, fallbacks.
BUDGET: ContextVar[RunBudget | None] = ContextVar("BUDGET", default=None)
