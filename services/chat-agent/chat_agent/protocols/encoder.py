"""What all voices have in common: they hear a run's events one by one, and say each in words of their own."""

from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import orjson
from servicekit.errors import ServiceError

from chat_agent.errors import TokenEnded
from chat_agent.event_log.store import WAITING, RunEvent, make_event
from chat_agent.execution.manager import Engine
from chat_agent.execution.subscribe import KEEP_ALIVE, MayHear, listen, while_let_in
from chat_agent.runs.outcome import Outcome, terminal_event

Told = Mapping[str, Any]
DONE = b"data: [DONE]\n\n"


class Voice:
    """Says events in the words of one protocol; what it has no words for, it passes over.

    An event `message.delta` is said by the method `message_delta`, a completed item of kind `tool_call` by
    `tool_call_completed`; each gives the frames to send.
    """

    # Whether nothing is said any more, though the run may go on.
    is_over = False
    _has_begun = False

    def reopen(self) -> Iterable[bytes]:
        """Open a stream that goes on from where an earlier one has ended."""
        return ()

    def encode(self, event: RunEvent) -> bytes:
        """Say one event."""
        told = event.json()
        begin: Iterable[bytes] = ()
        if not self._has_begun:
            self._has_begun = True
            # A run that was cancelled before its turn came ends without having begun.
            begin = () if event.type == "run.started" else self._say("run_started", told)
        return b"".join([*begin, *self._say(event.type.replace(".", "_"), told)])

    def item_started(self, told: Told) -> Iterator[bytes]:
        """Say that an item begins, by its kind."""
        yield from self._say(f"{told['item']['kind']}_started", told["item"])

    def item_completed(self, told: Told) -> Iterator[bytes]:
        """Say that an item is whole, by its kind."""
        yield from self._say(f"{told['item']['kind']}_completed", told["item"])

    def _say(self, what: str, told: Told) -> Iterator[bytes]:
        say = getattr(self, what, None)
        if say is not None and not self.is_over:
            yield from say(told)


async def speak(
    engine: Engine, run_id: UUID, voice: Voice, may_hear: MayHear, after: int = 0
) -> AsyncIterator[bytes]:
    """Say a run in a voice, to its end or to where it waits for a person, for as long as it may be heard.

    The voice hears all of the run, and what it says of the events after number `after` is given.
    """
    try:
        async for frames in encoded(
            while_let_in(may_hear, listen(engine, run_id, to_the_end=True)), voice, after
        ):
            yield frames
    except TokenEnded as ended:
        # Their clients take a stream that merely stops for a whole answer.
        yield voice.encode(refusal(run_id, ended))


def refusal(run_id: UUID, error: ServiceError) -> RunEvent:
    """Give what ends a stream as an error would, though the run goes on."""
    type, told = terminal_event(Outcome("failed", "", error_code=error.code(), error_detail=error.detail))
    return make_event(0, type, run_id, run_id, told, datetime.now(UTC))


async def encoded(told: AsyncIterator[Sequence[RunEvent]], voice: Voice, after: int) -> AsyncIterator[bytes]:
    """Say events in a voice, as they are told."""
    # None of these streams may go on after its end, so what ends it is said when nothing has come after. And
    # most of their clients cannot come again to the middle of one.
    end = b""
    async for events in told:
        frames = b"" if events else KEEP_ALIVE
        for event in events:
            said = voice.encode(event)
            end = said if event.type == WAITING and event.seq > after else b""
            if event.seq > after:
                frames += b"" if event.type == WAITING else said
            elif event.seq == after:
                frames += b"".join(voice.reopen())
        if frames:
            yield frames
        if voice.is_over:
            return
    if end:
        yield end


def hear(voice: Voice, events: Iterable[RunEvent]) -> None:
    """Let a voice hear of a run, and send nothing."""
    for event in standing([*events]):
        voice.encode(event)


def standing(events: list[RunEvent]) -> list[RunEvent]:
    """Leave out what was withdrawn, and where the run has waited: nobody need hear of it afterwards."""
    kept: list[RunEvent] = []
    for event in events:
        if event.type == "run.resumed":
            withdrawn: Any = event.json()["withdrawn"]
            kept = [one for one in kept if item_of(one.json()) not in withdrawn]
        elif event.type != WAITING or event is events[-1]:
            kept.append(event)
    return kept


def item_of(told: Told) -> str | None:
    """Name the item that an event is about, if it is about one."""
    item_id: str | None = told.get("item_id") or told.get("item", {}).get("id")
    return item_id


def data(content: object) -> bytes:
    """Give a server-sent event without a name."""
    return b"data: %s\n\n" % orjson.dumps(content)


def named(type: str, content: object) -> bytes:
    """Give a server-sent event with a name."""
    return b"event: %s\ndata: %s\n\n" % (type.encode(), orjson.dumps(content))


def item_name(prefix: str, run_id: UUID, item_id: str) -> str:
    """Name an item of a run so that it is one of a kind among all runs."""
    return f"{prefix}_{run_id.hex}_{item_id.removeprefix('item_')}"
