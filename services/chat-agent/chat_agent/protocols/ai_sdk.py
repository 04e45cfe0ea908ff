"""The encoder for the Vercel AI SDK: its UI message stream, version 1."""

from collections.abc import Iterator
from typing import Any

import orjson

from chat_agent.protocols.encoder import (
    APPROVAL_FIELDS,
    DONE,
    ERROR_MEMBERS,
    Payload,
    ProtocolEncoder,
    data_event,
    fields_of,
)
from chat_agent.protocols.nested_calls import NestedCalls

HEADERS = {"x-vercel-ai-ui-message-stream": "v1"}
ERROR_FIELDS = ("code", "detail", *ERROR_MEMBERS)
NAMED_HERE = ("run_id", "conversation_id", "agent", "model")


class UiMessageStream(ProtocolEncoder):
    """Encodes a run as parts of one message: a step for each agent, and data parts for what has no other."""

    def __init__(self, message_id: str | None = None) -> None:
        # Of the message that goes on, if one does; else the run's.
        self._message_id = message_id
        # What is being said: the id of the item, and whether it is text or reasoning.
        self._open: dict[str, str] = {}
        # The calls of tools that have given nothing back yet: the ids of the item and of the call.
        self._calls: dict[str, str] = {}
        self._nested = NestedCalls()
        # The nested calls that a person has to allow.
        self._requested: set[str] = set()
        self._finish_reason = "stop"
        self._start_of_all = b""

    def run_started(self, payload: Payload) -> Iterator[bytes]:
        """Start the message, or go on with one."""
        metadata = {name: payload[name] for name in NAMED_HERE if name in payload}
        self._start_of_all = part(
            "start", messageId=self._message_id or payload["run_id"], messageMetadata=metadata
        )
        yield from self.reopen()

    def reopen(self) -> Iterator[bytes]:
        """Start or continue the message."""
        yield self._start_of_all
        yield part("start-step")

    def message_started(self, item: Payload) -> Iterator[bytes]:
        """Start a text."""
        yield self._start(item, "text")

    def message_delta(self, payload: Payload) -> Iterator[bytes]:
        """Send a delta."""
        yield part("text-delta", id=payload["item_id"], delta=payload["delta"])

    def message_completed(self, item: Payload) -> Iterator[bytes]:
        """Complete it."""
        self._finish_reason = "content-filter" if item.get("refusal") else "stop"
        yield from self._end(item["id"])
        for number, citation in enumerate(item.get("citations", ())):
            source = {
                "sourceId": f"{item['id']}-{number}",
                "url": citation["url"],
                "title": citation["title"],
            }
            yield part("source-url", **source)

    def reasoning_started(self, item: Payload) -> Iterator[bytes]:
        """Start reasoning."""
        yield self._start(item, "reasoning")

    def reasoning_delta(self, payload: Payload) -> Iterator[bytes]:
        """Send a delta."""
        yield part("reasoning-delta", id=payload["item_id"], delta=payload["delta"])

    def reasoning_completed(self, item: Payload) -> Iterator[bytes]:
        """Complete it."""
        yield from self._end(item["id"])

    def tool_call_completed(self, item: Payload) -> Iterator[bytes]:
        """Record which item a call is."""
        self._calls[item["id"]] = item["call_id"]
        yield from ()

    def tool_output_completed(self, item: Payload) -> Iterator[bytes]:
        """Record that a call is done."""
        self._calls = {id: call_id for id, call_id in self._calls.items() if call_id != item["call_id"]}
        yield from ()

    def tool_called(self, payload: Payload) -> Iterator[bytes]:
        """Send a tool call; `providerExecuted` keeps the client from running it."""
        call = {"toolCallId": payload["call_id"], "toolName": payload["name"], **SERVER_TOOL}
        yield part("tool-input-available", **call, input=parsed(payload["arguments"]))

    def tool_output(self, payload: Payload) -> Iterator[bytes]:
        """Send a tool's output."""
        call_id, output = payload["call_id"], payload["output"]
        if payload.get("failed"):
            yield part("tool-output-error", toolCallId=call_id, errorText=output, **SERVER_TOOL)
        else:
            yield part("tool-output-available", toolCallId=call_id, output=output, **SERVER_TOOL)

    def nested_tool_called(self, payload: Payload) -> Iterator[bytes]:
        """Send what an agent calls that is a tool, as data; parts with the same id replace one another."""
        yield nested_call(self._nested.add(payload))

    def nested_tool_output(self, payload: Payload) -> Iterator[bytes]:
        """Send what it returned."""
        yield from self.nested_tool_called(payload)
        if payload["call_id"] in self._requested:
            yield from self.tool_output(payload)

    def memory_recalled(self, payload: Payload) -> Iterator[bytes]:
        """Send what an agent knows or notes of a person, or that it reads a summary."""
        yield part(f"data-{payload['type'].replace('.', '-')}", data=fields_of(payload))

    memory_noted = history_compacted = memory_recalled

    def agent_changed(self, payload: Payload) -> Iterator[bytes]:
        """End one agent's step and start the other's."""
        yield part("finish-step")
        yield part("start-step")
        yield part("data-agent-changed", data={"from": payload["from"], "to": payload["to"]})

    def approval_required(self, payload: Payload) -> Iterator[bytes]:
        """Send a request for approval: it is answered at the part of a call, which a nested one gets here."""
        if "parent_call_id" in payload:
            self._requested.add(payload["call_id"])
            yield from self.tool_called(payload)
        yield part("tool-approval-request", approvalId=payload["approval_id"], toolCallId=payload["call_id"])
        request = {name: payload[name] for name in APPROVAL_FIELDS if name in payload}
        yield part("data-approval-required", id=payload["approval_id"], data=request)

    def run_resumed(self, payload: Payload) -> Iterator[bytes]:
        """End retracted items, and mark them; they are sent again as other parts."""
        for item_id in payload["withdrawn"]:
            yield from self._end(item_id, withdrawn=True)
            if (call_id := self._calls.pop(item_id, None)) is not None:
                yield part("tool-output-error", toolCallId=call_id, errorText=WITHDRAWN, **SERVER_TOOL)
                yield from map(nested_call, self._nested.withdraw([call_id]))
        yield part("data-withdrawn", data={"ids": payload["withdrawn"]})

    def run_completed(self, payload: Payload) -> Iterator[bytes]:
        """End a completed run, after the calls of the client's own tools."""
        calls = payload.get("tool_calls", ())
        for call in calls:
            names = {"toolCallId": call["call_id"], "toolName": call["name"]}
            yield part("tool-input-start", **names)
            yield part("tool-input-delta", toolCallId=call["call_id"], inputTextDelta=call["arguments"])
            yield part("tool-input-available", **names, input=parsed(call["arguments"]))
        yield from self._finish(payload, "tool-calls" if calls else self._finish_reason)

    def run_waiting(self, payload: Payload) -> Iterator[bytes]:
        """End the stream of a run that waits for approvals."""
        yield from self._finish(payload, "other")

    def run_cancelled(self, payload: Payload) -> Iterator[bytes]:
        """End a cancelled run."""
        yield from self._close()
        yield part("abort", reason="cancelled")
        yield from self._finish(payload, "other")

    def run_failed(self, payload: Payload) -> Iterator[bytes]:
        """End a failed run; the error part has room for a sentence only."""
        yield from self._close()
        yield part("data-error", data={name: payload[name] for name in ERROR_FIELDS if name in payload})
        yield part("error", errorText=payload["detail"])
        yield from self._finish(payload, "error")

    def _finish(self, payload: Payload, reason: str) -> Iterator[bytes]:
        yield from self._close()
        yield part("finish-step")
        metadata = {"status": payload["type"].removeprefix("run."), "usage": payload.get("usage")}
        yield part("finish", finishReason=reason, messageMetadata=metadata)
        yield DONE

    def _start(self, item: Payload, kind: str) -> bytes:
        self._open[item["id"]] = kind
        return part(f"{kind}-start", id=item["id"])

    def _end(self, item_id: str, *, withdrawn: bool = False) -> Iterator[bytes]:
        kind = self._open.pop(item_id, None)
        if kind is not None:
            # What stays with the part, so that it can be shown struck out.
            mark = {"providerMetadata": {"acme": {"withdrawn": True}}} if withdrawn else {}
            yield part(f"{kind}-end", id=item_id, **mark)

    def _close(self) -> Iterator[bytes]:
        for item_id in [*self._open]:
            yield from self._end(item_id)


WITHDRAWN = "The process that made this call was lost."
# Tools that the server runs, and that the client may know nothing of.
SERVER_TOOL = {"providerExecuted": True, "dynamic": True}


def part(type: str, **fields: Any) -> bytes:
    """Return one part of the stream."""
    return data_event({"type": type, **fields})


def nested_call(call: Payload) -> bytes:
    """Return a nested call as data."""
    return part("data-nested-call", id=call["call_id"], data=call)


def parsed(arguments: str) -> Any:
    """Read a tool's arguments; what is no JSON (masked, cut) is shown as it is."""
    try:
        return orjson.loads(arguments)
    except ValueError:
        return arguments
