"""Keeps the leases of the runs that are worked on here, and takes those that nobody works on any more."""

import logging
import time

from servicekit.workers.base import BACKOFF_SECONDS, LoopWorker, Throttle, until_set

from chat_agent.execution.manager import Engine
from chat_agent.models import Run
from chat_agent.runs import leases

logger = logging.getLogger(__name__)

# Proxies close what is silent for long. And as often, a stream looks whether its token is still good.
SIGN_OF_LIFE_SECONDS = 5.0
# So many are taken at once; the next ones follow at once.
MOST = 50


class Keeper(LoopWorker):
    """Renews leases, and hears from the rows what others have decided; a Worker."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._every = engine.lease.lasts.total_seconds() / 4
        self._stirring = Throttle(SIGN_OF_LIFE_SECONDS)
        # After an outage, sooner than others may begin to take what was not renewed.
        super().__init__("leases", pauses=(BACKOFF_SECONDS[0], self._every))

    async def begin(self) -> None:
        """Begin with nothing."""

    async def step(self) -> float:
        """Renew all leases at once."""
        engine = self._engine
        if self._stirring.due():
            for live in engine.live.values():
                live.log.stir()
        if held := dict(engine.live):
            async with engine.database.begin() as session:
                kept = await leases.keep_alive(session, engine.lease, list(held))
            for run_id, live in held.items():
                attempt, stop = kept.get(run_id, (0, None))
                if attempt == live.run.attempt:
                    if stop is not None:
                        live.stop(stop)
                elif not live.is_ending and engine.live.get(run_id) is live:
                    engine.lose(live)
        return self._every


class Claimer(LoopWorker):
    """Takes runs that nobody works on: lost, handed over, or next in their conversation; a Worker."""

    def __init__(self, engine: Engine) -> None:
        super().__init__("takeover")
        self._engine = engine
        self._every = engine.lease.lasts.total_seconds() / 6
        self._since = 0.0
        self._looked = time.monotonic()

    async def begin(self) -> None:
        """Give others time after an outage: their leases ran out while nobody could renew them."""
        self._since = time.monotonic() if self._failures else 0.0
        await self._engine.database.ping()

    async def step(self) -> float:
        """Take what is due, and work on it."""
        self._engine.due.clear()
        async with self._engine.database.begin() as session:
            is_any_due = await leases.is_any_due(session)
        before, self._looked = self._looked, time.monotonic()
        if self._looked - before > self._every * 4:
            # Postgres stood still, or this process did: nobody's lease says much now.
            self._since = self._looked
        if is_any_due and self._looked - self._since > self._engine.lease.lasts.total_seconds():
            for run in await self._take():
                logger.info("run taken over", extra={"run_id": str(run.id), "attempt": run.attempt})
                self._engine.start(run)
        return self._every

    async def rest(self, seconds: float) -> None:
        """Rest until it is time to look, or there is word that something is due."""
        await until_set(self._engine.due, seconds)

    async def _take(self) -> list[Run]:
        engine = self._engine
        if engine.is_closing:
            return []
        async with engine.database.begin() as session:
            taken = await leases.take_over(session, engine.lease, MOST)
            waiting = await leases.waiting_conversations(session, MOST)
        for conversation_id in waiting:
            async with engine.database.begin() as session:
                run = await leases.promote(session, conversation_id, engine.lease)
            taken += [run] if run is not None else []
        if len(taken) >= MOST:
            engine.due.set()
        return taken
