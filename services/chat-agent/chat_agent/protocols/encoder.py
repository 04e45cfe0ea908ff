"""What all protocols have in common: an encoder is fed with a run's events one by one."""

from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import orjson
from servicekit.auth.tokens import Principal
from servicekit.errors import ServiceError

from chat_agent.errors import TokenExpired
from chat_agent.event_log.store import EventType, RunEvent, make_event
from chat_agent.execution.manager import RunManager
from chat_agent.execution.subscribe import KEEP_ALIVE, subscribe, while_authorized
from chat_agent.runs.outcome import Outcome, terminal_event

Payload = Mapping[str, Any]
DONE = b"data: [DONE]\n\n"
NESTABLE = frozenset({EventType.TOOL_CALLED, EventType.TOOL_OUTPUT})
APPROVAL_FIELDS = ("run_id", "approval_id", "name", "arguments", "sign_in", "agent", "parent_call_id")
# What the last event of a run says of its failure beside `code` and `detail`, where there is more to say.
ERROR_MEMBERS = ("quota", "guardrail", "stage")
# What all events have.
ENVELOPE_FIELDS = frozenset({"type", "seq", "run_id", "conversation_id", "at"})


class ProtocolEncoder:
    """Encodes events in one protocol; events that it does not know are skipped.

    An event `message.delta` is said by the method `message_delta`, a completed item of kind `tool_call` by
    `tool_call_completed`, the `tool.called` of an agent that is a tool by `nested_tool_called`; each gives
    the frames to send.
    """

    # Whether nothing is said any more, though the run may go on.
    is_finished = False
    _has_started = False

    def reopen(self) -> Iterable[bytes]:
        """Open a stream that continues an earlier one."""
        return ()

    def encode(self, event: RunEvent) -> bytes:
        """Encode one event."""
        payload = event.json()
        begin: Iterable[bytes] = ()
        if not self._has_started:
            self._has_started = True
            # A run that was cancelled before its turn came ends without having begun.
            begin = () if event.type == EventType.RUN_STARTED else self._call("run_started", payload)
        prefix = "nested_" if event.type in NESTABLE and "parent_call_id" in payload else ""
        return b"".join([*begin, *self._call(prefix + event.type.replace(".", "_"), payload)])

    def item_started(self, payload: Payload) -> Iterator[bytes]:
        """Encode the start of an item, by its kind."""
        yield from self._call(f"{payload['item']['kind']}_started", payload["item"])

    def item_completed(self, payload: Payload) -> Iterator[bytes]:
        """Encode the completion of an item, by its kind."""
        yield from self._call(f"{payload['item']['kind']}_completed", payload["item"])

    def _call(self, what: str, payload: Payload) -> Iterator[bytes]:
        method = getattr(self, what, None)
        if method is not None and not self.is_finished:
            yield from method(payload)


async def stream(
    manager: RunManager, run_id: UUID, encoder: ProtocolEncoder, caller: Principal, after: int = 0
) -> AsyncIterator[bytes]:
    """Encode a run to its end, or until it waits for a person, while the caller's token is valid.

    The encoder is fed with all of the run; only what it makes of events after number `after` is sent.
    """
    events = subscribe(manager, run_id, until_finished=True)
    try:
        async for frames in encode_events(while_authorized(manager, caller, events), encoder, after):
            yield frames
    except TokenExpired as expired:
        # Clients of these protocols take a stream that merely stops for a complete answer.
        yield encoder.encode(error_event(run_id, expired))


def error_event(run_id: UUID, error: ServiceError) -> RunEvent:
    """Return what ends a stream as an error would, though the run goes on."""
    type, payload = terminal_event(Outcome("failed", "", error_code=error.code(), error_detail=error.detail))
    return make_event(0, type, run_id, run_id, payload, datetime.now(UTC))


async def encode_events(
    batches: AsyncIterator[Sequence[RunEvent]], encoder: ProtocolEncoder, after: int
) -> AsyncIterator[bytes]:
    """Encode events as they come."""
    # None of these streams may go on after its end, so what ends it is said when nothing has come after. And
    # most of their clients cannot come again to the middle of one.
    end = b""
    async for events in batches:
        frames = b"" if events else KEEP_ALIVE
        for event in events:
            frame = encoder.encode(event)
            end = frame if event.type == EventType.RUN_WAITING and event.seq > after else b""
            if event.seq > after:
                frames += b"" if event.type == EventType.RUN_WAITING else frame
            elif event.seq == after:
                frames += b"".join(encoder.reopen())
        if frames:
            yield frames
        if encoder.is_finished:
            return
    if end:
        yield end


def feed(encoder: ProtocolEncoder, events: Iterable[RunEvent]) -> None:
    """Feed an encoder with a run, and send nothing."""
    for event in without_withdrawn([*events]):
        encoder.encode(event)


def without_withdrawn(events: list[RunEvent]) -> list[RunEvent]:
    """Drop retracted items, and the waits of a run that continued."""
    remaining: list[RunEvent] = []
    for event in events:
        if event.type == EventType.RUN_RESUMED:
            withdrawn: Any = event.json()["withdrawn"]
            remaining = [*not_of(remaining, withdrawn)]
        elif event.type != EventType.RUN_WAITING or event is events[-1]:
            remaining.append(event)
    return remaining


def fields_of(payload: Payload) -> dict[str, Any]:
    """Return what an event says, without what all events have."""
    return {name: value for name, value in payload.items() if name not in ENVELOPE_FIELDS}


def not_of(events: Iterable[RunEvent], withdrawn: Sequence[str]) -> Iterator[RunEvent]:
    """Yield the events that are not about these items, or about calls within them."""
    calls: set[str] = set()
    for event in events:
        payload: Payload = event.json()
        if item_id_of(payload) in withdrawn:
            calls.add(payload.get("item", {}).get("call_id", ""))
        elif payload.get("parent_call_id") in calls:
            calls.add(payload["call_id"])
        else:
            yield event


def item_id_of(payload: Payload) -> str | None:
    """Return the id of the item that an event is about, if any."""
    item_id: str | None = payload.get("item_id") or payload.get("item", {}).get("id")
    return item_id


def data_event(content: object) -> bytes:
    """Return a server-sent event without a name."""
    return b"data: %s\n\n" % orjson.dumps(content)


def named_event(type: str, content: object) -> bytes:
    """Return a server-sent event with a name."""
    return b"event: %s\ndata: %s\n\n" % (type.encode(), orjson.dumps(content))


def unique_item_id(prefix: str, run_id: UUID, item_id: str) -> str:
    """Return an id of an item that is unique among all runs."""
    return f"{prefix}_{run_id.hex}_{item_id.removeprefix('item_')}"
