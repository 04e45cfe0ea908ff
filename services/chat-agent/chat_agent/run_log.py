"""The log of a run: everything that happened, numbered without holes, and the one source of every stream.

Redis holds it (`run:{id}:events`; the entry ids are the event numbers), so any replica can read it, during
the run and for a while after. The replica that works on the run is the only one that writes, and what it has
written it still has at hand, for the readers that are connected to it. Nobody is shown what Redis does not
have: what was shown could not be shown again if this process died.
"""

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, Protocol
from uuid import UUID

import orjson
from pydantic import JsonValue
from redis.asyncio import Redis
from redis.exceptions import NoScriptError

WAITING = "run.waiting"
TERMINAL = frozenset({"run.completed", "run.failed", "run.cancelled"})
DELTAS = frozenset({"message.delta", "reasoning.delta"})
# So many events of a run stay at hand in the process that works on it; older ones are read from Redis.
WINDOW = 1000
BATCH = 500
BLOCK_MS = 5000

SUPERSEDED = -1
# The number of an attempt that nobody makes: all are older.
NOBODYS_TURN = 2**53 - 1
# KEYS: the log, and who writes it. ARGV: the writer's attempt, seconds to keep both, 1 if a hole before the
# events cannot be helped, the first event's number, then type and data of each. Gives the number of the last
# event that is there afterwards, or -1 to a writer that has a successor. Events that would leave a hole are
# not added: the writer sees by the number that something is lost, and sends it again. For how long both are
# kept is renewed once a minute: with each event it would be twice as much to write as the events themselves.
APPEND = """
local writer = tonumber(redis.call('GET', KEYS[2]) or '0')
local attempt, keep, torn, seq = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3], tonumber(ARGV[4])
if writer > attempt then return -1 end
local newest = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)
local last = newest[1] and tonumber(string.match(newest[1][1], '^%d+')) or 0
if seq <= last + 1 or torn == '1' then
    for i = 5, #ARGV, 2 do
        if seq > last then
            redis.call('XADD', KEYS[1], seq .. '-0', 'type', ARGV[i], 'data', ARGV[i + 1])
            last = seq
        end
        seq = seq + 1
    end
end
if writer < attempt or redis.call('TTL', KEYS[1]) < math.max(keep - 60, keep / 2) then
    redis.call('SET', KEYS[2], attempt, 'EX', keep + 60)
    redis.call('EXPIRE', KEYS[1], keep)
end
return last
"""
SHA = hashlib.sha1(APPEND.encode(), usedforsecurity=False).hexdigest()


@dataclass(frozen=True)
class RunEvent:
    """One event: its number in the run, its type, and its JSON as it goes over the wire."""

    seq: int
    type: str
    data: bytes

    @property
    def is_terminal(self) -> bool:
        """Tell whether nothing comes after this, ever."""
        return self.type in TERMINAL

    @cached_property
    def frame(self) -> bytes:
        """Give the event as server-sent event (WHATWG HTML 9.2)."""
        return b"id: %d\nevent: %s\ndata: %s\n\n" % (self.seq, self.type.encode(), self.data)

    def json(self) -> dict[str, JsonValue]:
        """Give the event's JSON, parsed."""
        parsed: dict[str, JsonValue] = orjson.loads(self.data)
        return parsed


class Source(Protocol):
    """Where the events of one run can be read from."""

    async def after(self, seq: int) -> Sequence[RunEvent]:
        """Give the events after number `seq`, waiting a while for the first; none when nothing came."""

    async def last(self) -> "RunEvent | None":
        """Give the newest event, if there is one (yet, or still)."""


class RecordedLog:
    """The log of any run, in Redis."""

    def __init__(self, redis: Redis, run_id: UUID) -> None:
        # The braces keep all keys of one run on one node of a cluster.
        self.keys = (f"run:{{{run_id}}}:events", f"run:{{{run_id}}}:writer")
        self._redis = redis

    async def last(self) -> RunEvent | None:
        """See `Source`."""
        newest: Any = await self._redis.xrevrange(self.keys[0], count=1)
        return event_of(*newest[0]) if newest else None

    async def after(self, seq: int) -> Sequence[RunEvent]:
        """See `Source`."""
        answer = await self._redis.xread({self.keys[0]: f"{seq}-0"}, count=BATCH, block=BLOCK_MS)
        return [event_of(id_, fields) for id_, fields in entries_of(answer)]

    async def between(self, after: int, until: int) -> list[RunEvent]:
        """Give the events after number `after`, up to number `until`, as far as they are there."""
        found: Any = await self._redis.xrange(self.keys[0], f"({after}-0", f"{until}-0", count=BATCH)
        return [event_of(id_, fields) for id_, fields in found]

    async def all(self) -> list[RunEvent]:
        """Give every event that is there."""
        newest = await self.last()
        events: list[RunEvent] = []
        while newest and (not events or events[-1].seq < newest.seq):
            more = await self.between(events[-1].seq if events else 0, newest.seq)
            if not more:
                break
            events += more
        return events

    async def append(self, attempt: int, keep: int, events: Sequence[RunEvent] = ()) -> int:
        """Add events as the writer of an attempt, and shut earlier writers out; gives what APPEND does."""
        arguments = append_arguments(attempt, keep, events, torn=False)
        try:
            return int(await self._redis.evalsha(SHA, 2, *self.keys, *arguments))
        except NoScriptError:
            return int(await self._redis.eval(APPEND, 2, *self.keys, *arguments))

    async def forget(self, keep: int) -> None:
        """Remove the log, and shut out whoever was about to write in it; `keep` is how long logs are kept."""
        async with self._redis.pipeline(transaction=True) as pipeline:
            pipeline.set(self.keys[1], NOBODYS_TURN, ex=keep + 60)
            pipeline.delete(self.keys[0])
            await pipeline.execute()


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


def make_event(  # noqa: PLR0913, PLR0917  # the parts of an event
    seq: int, type: str, run_id: UUID, conversation_id: UUID, fields: dict[str, Any], at: datetime
) -> RunEvent:
    """Make one event of a run."""
    data = {
        "type": type,
        "seq": seq,
        "run_id": str(run_id),
        "conversation_id": str(conversation_id),
        "at": at,
        **fields,
    }
    return RunEvent(seq, type, orjson.dumps(data, option=orjson.OPT_UTC_Z))


def append_arguments(attempt: int, keep: int, events: Sequence[RunEvent], *, torn: bool) -> list[Any]:
    """Give the arguments of APPEND."""
    first = events[0].seq if events else 0
    return [attempt, keep, int(torn), first, *(part for event in events for part in (event.type, event.data))]


def event_of(entry_id: bytes, fields: dict[bytes, bytes]) -> RunEvent:
    """Read an event from its entry; its number is in the id."""
    return RunEvent(int(entry_id.split(b"-")[0]), fields[b"type"].decode(), fields[b"data"])


def entries_of(answer: object) -> list[tuple[bytes, dict[bytes, bytes]]]:
    """Take the entries of the one stream out of what XREAD answers (a list or, in RESP3, a mapping)."""
    if not answer:
        return []
    if isinstance(answer, dict):
        (entries,) = answer.values()
        return list(entries[0])
    ((_, entries),) = answer  # type: ignore[misc]  # a list of one pair
    return list(entries)
