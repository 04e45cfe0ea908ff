"""Erases the rows of deleted users and tenants, for services that keep some of the row."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Select, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from servicekit.database import Database
from servicekit.erasure import WORK
from servicekit.workers.base import LoopWorker

BATCH_SIZE = 200
# The pause while something is pending, and while nothing is: what this process records is erased at once.
POLL_SECONDS = 2.0
IDLE_SECONDS = 10.0


@dataclass(frozen=True)
class ErasureRule:
    """Whose rows a service erases, and how."""

    # The ids of deleted users or tenants that are not marked as erased.
    pending: Select[Any]
    # Whether the service has rows of one of them.
    has_rows: ColumnElement[bool]
    # Erases at most BATCH_SIZE rows of these ids, and returns how many.
    erase: Callable[[Sequence[Any]], Awaitable[int]]
    # Marks those without rows as erased.
    mark_erased: Callable[[AsyncSession], Awaitable[None]]


class ErasureWorker(LoopWorker):
    """Erases in small batches; several replicas may run."""

    def __init__(self, database: Database, rules: Sequence[ErasureRule]) -> None:
        super().__init__("erasure", wakeup=database.wakeup(WORK))
        self._database = database
        self._rules = rules
        self._is_pending = select(or_(*(rule.pending.exists() for rule in rules)))

    async def begin(self) -> None:
        """Verify that the database is reachable."""
        await self._database.ping()

    async def step(self) -> float:
        """Erase one batch of each rule, and the next one at once while there are more."""
        async with self._database.begin() as db:
            if not await db.scalar(self._is_pending):
                return IDLE_SECONDS
        counts = [await self._apply(rule) for rule in self._rules]
        return 0 if max(counts) >= BATCH_SIZE else POLL_SECONDS

    async def _apply(self, rule: ErasureRule) -> int:
        async with self._database.begin() as db:
            # Of few ids at a time, so that their rows are read by index.
            ids = (await db.scalars(rule.pending.where(rule.has_rows).limit(BATCH_SIZE))).all()
            if not ids:
                await rule.mark_erased(db)
                return 0
        return await rule.erase(ids)
