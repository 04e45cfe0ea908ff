"""Deletes rows past their retention: sent events, handled event ids, idempotency records."""

from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy import ColumnElement, Table, delete, func, select, text, tuple_

from servicekit.database import Database
from servicekit.events.outbox import inbox, outbox
from servicekit.idempotency import idempotency_keys
from servicekit.workers.base import BACKOFF_SECONDS, LoopWorker, shielded

# A table, and which of its rows are to go.
RetentionRule = tuple[Table, ColumnElement[bool]]


class RetentionWorker(LoopWorker):
    """Deletes in small batches, a transaction each, from the service's tables that exist; a Worker.

    `every` is the time between two rounds, in seconds; `rules` are a service's own. What is kept of the
    outbox is what can be sent again when Redis loses it; the inbox must remember for longer, or it would be
    handled again.
    """

    def __init__(  # noqa: PLR0913  # each by its name
        self,
        database: Database,
        *,
        every: float = 300.0,
        batch: int = 1000,
        outbox_retention: timedelta = timedelta(days=3),
        inbox_retention: timedelta = timedelta(days=30),
        rules: Sequence[RetentionRule] = (),
        pauses: tuple[float, float] = BACKOFF_SECONDS,
    ) -> None:
        if inbox_retention <= outbox_retention:
            raise ValueError("the inbox must remember for longer than the outbox is kept")
        super().__init__("housekeeping", pauses)
        self._database = database
        self._every = every
        self._batch = batch
        self._rules: list[RetentionRule] = [
            *rules,
            (outbox, outbox.c.published_at < func.now() - outbox_retention),
            (inbox, inbox.c.handled_at < func.now() - inbox_retention),
            (idempotency_keys, idempotency_keys.c.expires_at < func.now()),
        ]

    async def begin(self) -> None:
        """Verify that the database is reachable."""
        await self._database.ping()

    async def step(self) -> float:
        """Clean all tables once."""
        for table, expired in self._rules:
            if await self._exists(table):
                await shielded(self._clean(table, expired))
        return self._every

    async def _exists(self, table: Table) -> bool:
        async with self._database.begin() as session:
            found = await session.scalar(text("select to_regclass(:name)"), {"name": table.name})
        return found is not None

    async def _clean(self, table: Table, expired: ColumnElement[bool]) -> None:
        # All of its columns: rows that share the first one with an expired row stay.
        columns = table.primary_key.columns
        key = tuple_(*columns) if len(columns) > 1 else columns[0]
        # Replicas clean at the same time; each takes rows of its own.
        some = select(*columns).where(expired).limit(self._batch).with_for_update(skip_locked=True)
        deleted = self._batch
        while deleted == self._batch:
            async with self._database.begin() as session:
                removed = await session.execute(delete(table).where(key.in_(some)).returning(columns[0]))
                deleted = len(removed.all())
