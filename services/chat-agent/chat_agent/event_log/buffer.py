"""The log of a run in the process that works on it: what happened, what is on its way, what is recorded."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from chat_agent.event_log.store import BATCH, DELTAS, SUPERSEDED, TERMINAL, RecordedLog, RunEvent, make_event

# So many events of a run stay at hand in the process that works on it; older ones are read from Redis.
WINDOW = 1000


class Happening:
    """Something that happened and has no number yet."""

    def __init__(self, type: str, fields: dict[str, Any]) -> None:  # the word on the wire
        self.type = type
        self.fields = fields
        self.at = datetime.now(UTC)

    def absorb(self, type: str, fields: dict[str, Any]) -> bool:
        """Take in the next piece of the same text, if that is what it is."""
        if type != self.type or type not in DELTAS or fields["item_id"] != self.fields["item_id"]:
            return False
        self.fields["delta"] += fields["delta"]
        return True


class RunLog:
    """The log of a run, at the one who works on it: what happened, what is on its way, what is recorded.

    Pieces of text that come faster than they can be recorded become one event, so that a slow Redis makes
    fewer events, not a longer queue.
    """

    def __init__(  # noqa: PLR0913  # each by its name
        self,
        run_id: UUID,
        conversation_id: UUID,
        recorded: RecordedLog,
        *,
        attempt: int,
        keep_seconds: int,
        note: "Callable[[RunLog], None]",
    ) -> None:
        self.run_id = run_id
        self.recorded = recorded
        self.attempt = attempt
        self.keep_seconds = keep_seconds
        self._note = note
        self.is_left = False
        self._conversation_id = conversation_id
        # The numbers of the last event that was numbered, and of the last that Redis has.
        self._last = self._recorded = 0
        self._is_torn = False
        self._happened: list[Happening] = []
        self._underway: list[RunEvent] = []
        self._window: list[RunEvent] = []
        self._is_closed = False
        self._changed = asyncio.Event()

    def go_on_after(self, seq: int) -> None:
        """Begin after this number, which somebody else has written."""
        self._last = self._recorded = seq

    def append(self, type: str, **fields: object) -> None:  # the word on the wire
        """Add an event; raises AssertionError after the terminal one, of which there is exactly one.

        Who has been superseded is not heard any more.
        """
        assert not self._is_closed or self.is_left, f"{type} after the end"  # noqa: S101
        if self._is_closed:
            return
        self._is_closed = type in TERMINAL
        if not (self._happened and self._happened[-1].absorb(type, fields)):
            self._happened.append(Happening(type, fields))
        self._note(self)

    @property
    def is_recorded(self) -> bool:
        """Tell whether nothing is on its way."""
        return not self._happened and not self._underway

    def underway(self) -> list[RunEvent]:
        """Give what Redis is not known to have; what has just happened gets its numbers here."""
        self._underway += [self._numbered(one) for one in self._happened]
        self._happened.clear()
        return self._underway[:BATCH]

    def _numbered(self, one: Happening) -> RunEvent:
        self._last += 1
        return make_event(self._last, one.type, self.run_id, self._conversation_id, one.fields, one.at)

    @property
    def is_torn(self) -> bool:
        """Tell whether Redis has lost events that are not at hand any more."""
        return self._is_torn

    def recorded_until(self, seq: int) -> None:
        """Hear how far Redis has it; what it had and has lost is on its way again."""
        if seq == SUPERSEDED:
            self.supersede()
            return
        done = until(self._underway, seq)
        self._window += self._underway[:done]
        kept = until(self._window, seq)
        self._underway = self._window[kept:] + self._underway[done:]
        del self._window[kept:]
        self._is_torn = bool(self._underway) and self._underway[0].seq > seq + 1
        self._recorded = seq
        if len(self._window) > 2 * WINDOW:
            del self._window[:-WINDOW]
        self._notify()

    def leave(self) -> None:
        """Let readers go elsewhere: this is not the place any more where the run goes on."""
        self.is_left = True
        self._notify()

    def supersede(self) -> None:
        """Leave, and say no more: somebody else writes this log by now."""
        self._is_closed = True
        self._happened.clear()
        self._underway.clear()
        self.leave()

    def _notify(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    @property
    def changed(self) -> asyncio.Event:
        """Give what is set when more is recorded, readers have to leave, or have heard nothing for long."""
        return self._changed

    def stir(self) -> None:
        """Let readers look up who have heard nothing for a while."""
        self._notify()

    async def last(self) -> RunEvent | None:
        """See `Source`."""
        return self._window[-1] if self._window else await self.recorded.last()

    async def after(self, seq: int) -> Sequence[RunEvent]:
        """See `Source`."""
        if self._recorded <= seq and not self.is_left:
            await self._changed.wait()
        if self._recorded <= seq:
            return []
        begin = self._window[0].seq if self._window else self._recorded + 1
        if seq >= begin - 1:
            return self._window[seq - begin + 1 :]
        if older := await self.recorded.between(seq, begin - 1):
            return older
        # Lost for good: what comes after it is better than nothing for ever.
        if not self._window and not self.is_left:
            await self._changed.wait()
        return self._window[:]


def until(events: Sequence[RunEvent], seq: int) -> int:
    """Count the events, whose numbers follow one another, up to this one."""
    return min(max(seq - events[0].seq + 1, 0), len(events)) if events else 0
