"""Dispatches events to handlers, each once: the inbox row and the handler's effect are one transaction."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator, Mapping

from opentelemetry import trace
from opentelemetry.trace import SpanKind
from prometheus_client import Histogram
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from servicekit import context, telemetry
from servicekit.database import Database
from servicekit.events.outbox import ReceivedEvent, inbox

tracer = trace.get_tracer(__name__)

Handler = Callable[[AsyncSession, ReceivedEvent], Awaitable[object]]

SECONDS = Histogram("events_handler_seconds", "Time to handle an event.", ["service", "type"])


class Dispatcher:
    """Calls one service's handlers, by event type; each may take at most `seconds`."""

    def __init__(
        self, database: Database, service: str, handlers: Mapping[str, Handler], seconds: float
    ) -> None:
        self.service = service
        self.ping = database.ping
        self._database = database
        self._handlers = handlers
        self._seconds = seconds

    async def handle(self, received: ReceivedEvent) -> str:
        """Call the event's handler, if there is one and it was not called before; raises what it raises."""
        handler = self._handlers.get(received.type)
        if handler is None:
            return "ignored"
        with self._observed(received):
            async with asyncio.timeout(self._seconds), self._database.begin() as session:
                if not await record_event_once(session, received):
                    return "duplicate"
                await handler(session, received)
        return "handled"

    def describe(self, type_: str) -> str:
        """Return the label of an event type; types without a handler share one, or the metrics would grow."""
        return type_ if type_ in self._handlers else "other"

    @contextlib.contextmanager
    def _observed(self, received: ReceivedEvent) -> Iterator[None]:
        """Bind the event to logs and span; the trace goes on where the publisher's was."""
        span = tracer.start_as_current_span(
            f"handle {received.type}",
            context=telemetry.parent(received.traceparent),
            kind=SpanKind.CONSUMER,
            attributes={"messaging.system": "redis", "messaging.message.id": str(received.id)},
        )
        tenant = str(received.tenant_id) if received.tenant_id else None
        clock = SECONDS.labels(self.service, received.type).time()
        with context.scope(correlation_id=str(received.id), tenant_id=tenant), clock, span:
            yield


async def record_event_once(session: AsyncSession, received: ReceivedEvent) -> bool:
    """Record an event; return whether it is new. Waits for a transaction that records it now."""
    row = insert(inbox).values(event_id=received.id).on_conflict_do_nothing().returning(inbox.c.event_id)
    return await session.scalar(row) is not None
