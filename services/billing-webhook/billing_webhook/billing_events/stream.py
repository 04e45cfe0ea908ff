"""The live stream of a tenant's billing events: replayed from Postgres, and then as they are committed."""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from uuid import UUID

from servicekit.app import Resources
from servicekit.auth.tokens import Principal
from servicekit.workers.base import Throttle, until_set
from sqlalchemy.exc import SQLAlchemyError

from billing_webhook.billing_events import queries, sse
from billing_webhook.billing_events.hub import POLL_SECONDS, EventHub
from billing_webhook.billing_events.queries import Batch, Start
from billing_webhook.settings import Settings

logger = logging.getLogger(__name__)

RETRY_SECONDS = 1.0


@dataclass(frozen=True)
class Stream:
    """One open stream of a caller."""

    resources: Resources
    settings: Settings
    hub: EventHub
    caller: Principal
    tenant_id: UUID
    types: Sequence[str]

    async def frames(self, start: Start) -> AsyncGenerator[bytes, None]:
        """Yield the stream, until the token, the time, or the process ends."""
        yield sse.start_frame(start)
        seq, heartbeat = start.seq, Throttle(self.settings.billing_stream_heartbeat_seconds)
        heartbeat.due()
        ends_at = time.monotonic() + self.settings.billing_stream_lifetime_seconds
        with self.hub.subscription(self.tenant_id) as wakeup:
            while (reason := await self._reason_to_close(ends_at)) is None:
                if wakeup.is_set():
                    wakeup.clear()
                    batch = await self._read(seq)
                    seq = batch.seq
                    # One by one: what waits for a slow client is one event, not a batch.
                    for event in batch.events:
                        yield sse.event_frame(event)
                    if batch.has_more:
                        wakeup.set()
                if heartbeat.due():
                    yield sse.heartbeat_frame(seq)
                await until_set(wakeup, POLL_SECONDS)
        yield sse.comment_frame(reason)

    async def _read(self, seq: int) -> Batch:
        """Read the next events, again after a pause while Postgres is away."""
        try:
            async with self.resources.database.begin() as db:
                return await queries.read_batch(db, self.tenant_id, seq, self.types)
        except (SQLAlchemyError, OSError) as error:
            logger.warning("billing events not read yet", extra={"error": type(error).__name__})
            await asyncio.sleep(RETRY_SECONDS)
            return Batch([], seq, has_more=True)

    async def _reason_to_close(self, ends_at: float) -> str | None:
        if self.hub.is_closing:
            return "the server is restarting"
        if not await self.resources.verifier.is_still_valid(self.caller):
            return "the access token expired or was revoked"
        return "the stream has reached its time limit" if time.monotonic() >= ends_at else None
