"""Renew the leases of this replica's runs, and claim runs that no replica executes."""

import logging
import math
import time

from servicekit.workers.base import BACKOFF_SECONDS, LoopWorker, Throttle, shielded

from chat_agent.execution.manager import RunManager
from chat_agent.models import Run
from chat_agent.runs import leases

logger = logging.getLogger(__name__)

# Proxies close connections that are silent for long. A stream checks its token as often.
KEEP_ALIVE_SECONDS = 5.0
# The most runs that are claimed at once; more are claimed right after.
MAX_CLAIMED = 50


class LeaseRenewer(LoopWorker):
    """Renews leases, and reads from the rows which runs to stop; a Worker."""

    def __init__(self, manager: RunManager) -> None:
        self._manager = manager
        self._interval = manager.lease.ttl.total_seconds() / 4
        self._keep_alive = Throttle(KEEP_ALIVE_SECONDS)
        # After an outage, before others may claim what was not renewed.
        super().__init__("leases", pauses=(BACKOFF_SECONDS[0], self._interval))

    async def begin(self) -> None:
        """Start without preparation."""

    async def step(self) -> float:
        """Renew all leases at once."""
        manager = self._manager
        if self._keep_alive.due():
            for active in manager.active.values():
                active.log.wake_readers()
        if runs := dict(manager.active):
            async with manager.lease_database.begin() as session:
                renewed = await leases.renew(session, manager.lease, list(runs))
            for run_id, active in runs.items():
                attempt, stop = renewed.get(run_id, (0, None))
                if attempt == active.run.attempt:
                    if stop is not None:
                        active.stop(stop)
                elif not active.is_ending and manager.active.get(run_id) is active:
                    active.abandon()
        return self._interval


class RunClaimer(LoopWorker):
    """Claims runs that nobody executes: lost, handed over, or next in their conversation; a Worker."""

    def __init__(self, manager: RunManager) -> None:
        super().__init__("takeover", wakeup=manager.claim_due)
        self._manager = manager
        self._interval = manager.lease.ttl.total_seconds() / 6
        self._waiting_since = -math.inf
        self._expected_at = math.inf

    async def begin(self) -> None:
        """Delay claims after an outage, while no lease could be renewed."""
        self._waiting_since = time.monotonic() if self._failures else -math.inf
        await self._manager.lease_database.ping()

    async def step(self) -> float:
        """Claim runs that are due, and start them."""
        async with self._manager.lease_database.begin() as session:
            # What fails here is followed by `begin`, and so by a delay: no lease could be renewed either.
            await leases.require_writes(session)
            due_in = await leases.seconds_until_due(session)
        now, ttl = time.monotonic(), self._manager.lease.ttl.total_seconds()
        if now - self._expected_at > self._interval * 3:
            # Postgres stood still, or this process did: a lease may expire whose owner is alive.
            self._waiting_since = now
        if due_in <= 0 and now - self._waiting_since > ttl:
            # Not cancelled: a claim that is committed must be started.
            await shielded(self._claim_and_start())
        # A lease that begins meanwhile does not expire before the next step, nor is a lost signal missed.
        rest = min(due_in, ttl / 2) if due_in > 0 else self._interval
        self._expected_at = now + rest
        return rest

    async def _claim_and_start(self) -> None:
        for run in await self._claim():
            logger.info("run taken over", extra={"run_id": str(run.id), "attempt": run.attempt})
            self._manager.start(run)

    async def _claim(self) -> list[Run]:
        manager = self._manager
        if manager.is_closing:
            return []
        async with manager.lease_database.begin() as session:
            claimed = await leases.claim_expired(session, manager.lease, MAX_CLAIMED)
            conversations = await leases.conversations_with_next(session, MAX_CLAIMED)
        for conversation_id in conversations:
            async with manager.lease_database.begin() as session:
                run = await leases.start_next_queued(session, conversation_id, manager.lease)
            claimed += [run] if run is not None else []
        if len(claimed) >= MAX_CLAIMED:
            manager.claim_due.set()
        return claimed
