"""The log of a run in the process that executes it: events that are pending, sent, and acknowledged."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from chat_agent.event_log.store import BATCH, DELTAS, SUPERSEDED, TERMINAL, EventStore, RunEvent, make_event

# The newest events of a run that its process buffers; older ones are read from Redis.
WINDOW = 1000


class PendingEvent:
    """An event that has no number yet."""

    def __init__(self, type: str, fields: dict[str, Any]) -> None:  # the word on the wire
        self.type = type
        self.fields = fields
        self.at = datetime.now(UTC)

    def merge(self, type: str, fields: dict[str, Any]) -> bool:
        """Merge the next delta of the same item; return whether it was one."""
        if type != self.type or type not in DELTAS or fields["item_id"] != self.fields["item_id"]:
            return False
        self.fields["delta"] += fields["delta"]
        if logprobs := fields.get("logprobs"):
            self.fields.setdefault("logprobs", []).extend(logprobs)
        return True


class EventBuffer:
    """The log of a run in the process that executes it.

    Deltas that come faster than Redis takes them are merged, so that a slow Redis makes fewer events, not a
    longer queue.
    """

    def __init__(  # noqa: PLR0913  # each by its name
        self,
        run_id: UUID,
        conversation_id: UUID,
        store: EventStore,
        *,
        attempt: int,
        ttl_seconds: int,
        mark_dirty: "Callable[[EventBuffer], None]",
    ) -> None:
        self.run_id = run_id
        self.store = store
        self.attempt = attempt
        self.ttl_seconds = ttl_seconds
        self._mark_dirty = mark_dirty
        self.is_detached = False
        self._conversation_id = conversation_id
        # The numbers of the last event that was numbered, and of the last that Redis has.
        self._last = self._acknowledged = 0
        self._has_gap = False
        self._pending: list[PendingEvent] = []
        self._unacknowledged: list[RunEvent] = []
        self._window: list[RunEvent] = []
        self._is_closed = False
        self._changed = asyncio.Event()

    def start_after(self, seq: int) -> None:
        """Start after this number, which an earlier attempt has written."""
        self._last = self._acknowledged = seq

    def append(self, type: str, **fields: object) -> None:  # the word on the wire
        """Add an event; raises AssertionError after the terminal one, of which there is exactly one.

        After `supersede`, events are dropped.
        """
        assert not self._is_closed or self.is_detached, f"{type} after the end"  # noqa: S101
        if self._is_closed:
            return
        self._is_closed = type in TERMINAL
        if not (self._pending and self._pending[-1].merge(type, fields)):
            self._pending.append(PendingEvent(type, fields))
        self._mark_dirty(self)

    @property
    def is_flushed(self) -> bool:
        """Return whether Redis has acknowledged all events."""
        return not self._pending and not self._unacknowledged

    def unacknowledged(self) -> list[RunEvent]:
        """Return a batch of events that Redis has not acknowledged; pending ones get their numbers here."""
        self._unacknowledged += [self._numbered(one) for one in self._pending]
        self._pending.clear()
        return self._unacknowledged[:BATCH]

    def _numbered(self, one: PendingEvent) -> RunEvent:
        self._last += 1
        return make_event(self._last, one.type, self.run_id, self._conversation_id, one.fields, one.at)

    @property
    def has_gap(self) -> bool:
        """Return whether Redis has lost events that are not buffered any more."""
        return self._has_gap

    def acknowledge(self, seq: int) -> None:
        """Apply the last number that Redis has; events that it lost are sent again."""
        if seq == SUPERSEDED:
            self.supersede()
            return
        done = count_until(self._unacknowledged, seq)
        self._window += self._unacknowledged[:done]
        end_of_stored = count_until(self._window, seq)
        self._unacknowledged = self._window[end_of_stored:] + self._unacknowledged[done:]
        del self._window[end_of_stored:]
        self._has_gap = bool(self._unacknowledged) and self._unacknowledged[0].seq > seq + 1
        self._acknowledged = seq
        if len(self._window) > 2 * WINDOW:
            del self._window[:-WINDOW]
        self._notify()

    def detach(self) -> None:
        """Detach readers: the run continues elsewhere."""
        self.is_detached = True
        self._notify()

    def supersede(self) -> None:
        """Detach and append nothing more: a newer attempt writes this log."""
        self._is_closed = True
        self._pending.clear()
        self._unacknowledged.clear()
        self.detach()

    def _notify(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    @property
    def changed(self) -> asyncio.Event:
        """Return the event that is set when there is more to read, or readers must stop or be kept alive."""
        return self._changed

    def wake_readers(self) -> None:
        """Wake readers that have read nothing for a while."""
        self._notify()

    async def last(self) -> RunEvent | None:
        """See `EventSource`."""
        return self._window[-1] if self._window else await self.store.last()

    async def after(self, seq: int) -> Sequence[RunEvent]:
        """See `EventSource`."""
        if self._acknowledged <= seq and not self.is_detached:
            await self._changed.wait()
        if self._acknowledged <= seq:
            return []
        begin = self._window[0].seq if self._window else self._acknowledged + 1
        if seq >= begin - 1:
            return self._window[seq - begin + 1 :]
        if older := await self.store.between(seq, begin - 1):
            return older
        # Lost for good: the later events are better than none.
        if not self._window and not self.is_detached:
            await self._changed.wait()
        return self._window[:]


def count_until(events: Sequence[RunEvent], seq: int) -> int:
    """Count the events, whose numbers follow one another, up to this one."""
    return min(max(seq - events[0].seq + 1, 0), len(events)) if events else 0
