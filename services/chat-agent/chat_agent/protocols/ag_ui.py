"""The encoder for AG-UI 1.0, the protocol between agents and frontends that CopilotKit speaks."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from chat_agent.protocols.encoder import (
    APPROVAL_FIELDS,
    ERROR_MEMBERS,
    Payload,
    ProtocolEncoder,
    data_event,
    fields_of,
    unique_item_id,
)
from chat_agent.protocols.nested_calls import NestedCalls


@dataclass(frozen=True)
class Thread:
    """What the frontend calls the conversation and the run, and the state that it shares."""

    thread_id: str
    run_id: str
    state: Any = None


class AgUiEvents(ProtocolEncoder):
    """Encodes a run as AG-UI events: an agent's part of it is a step, the rest is CUSTOM."""

    def __init__(self, run_id: UUID, thread: Thread) -> None:
        self._run_id = run_id
        self._ids = {"threadId": thread.thread_id, "runId": thread.run_id}
        self._state = thread.state
        self._agent = self._conversation_id = ""
        self._interrupts: list[dict[str, Any]] = []
        self._nested = NestedCalls()
        # What is being said: the id of the item, and the events that end it.
        self._open: dict[str, tuple[str, ...]] = {}

    def run_started(self, payload: Payload) -> Iterator[bytes]:
        """Start the run and the first agent's step."""
        self._agent, self._conversation_id = payload["agent"], payload["conversation_id"]
        yield from self.reopen()

    def reopen(self) -> Iterator[bytes]:
        """See `ProtocolEncoder`."""
        yield event("RUN_STARTED", **self._ids)
        yield self._snapshot()
        yield event("STEP_STARTED", stepName=self._agent)

    def message_started(self, item: Payload) -> Iterator[bytes]:
        """Start a message."""
        self._open[item["id"]] = ("TEXT_MESSAGE_END",)
        yield event("TEXT_MESSAGE_START", messageId=self._id(item["id"]), role="assistant")

    def message_delta(self, payload: Payload) -> Iterator[bytes]:
        """Send a delta."""
        yield event("TEXT_MESSAGE_CONTENT", messageId=self._id(payload["item_id"]), delta=payload["delta"])

    def message_completed(self, item: Payload) -> Iterator[bytes]:
        """Complete it."""
        yield from self._end(item["id"])
        if citations := item.get("citations"):
            value = {"messageId": self._id(item["id"]), "citations": citations}
            yield event("CUSTOM", name="message.citations", value=value)

    def reasoning_started(self, item: Payload) -> Iterator[bytes]:
        """Start reasoning."""
        self._open[item["id"]] = ("REASONING_MESSAGE_END", "REASONING_END")
        yield event("REASONING_START", messageId=self._id(item["id"]))
        yield event("REASONING_MESSAGE_START", messageId=self._id(item["id"]), role="reasoning")

    def reasoning_delta(self, payload: Payload) -> Iterator[bytes]:
        """Send a delta."""
        yield event(
            "REASONING_MESSAGE_CONTENT", messageId=self._id(payload["item_id"]), delta=payload["delta"]
        )

    def reasoning_completed(self, item: Payload) -> Iterator[bytes]:
        """Complete it."""
        yield from self._end(item["id"])

    def tool_called(self, payload: Payload) -> Iterator[bytes]:
        """Send a tool call at once."""
        call = {"toolCallId": payload["call_id"]}
        yield event("TOOL_CALL_START", **call, toolCallName=payload["name"])
        yield event("TOOL_CALL_ARGS", **call, delta=payload["arguments"])
        yield event("TOOL_CALL_END", **call)

    def tool_output(self, payload: Payload) -> Iterator[bytes]:
        """Send a tool's output."""
        call_id, message_id = payload["call_id"], f"{payload['call_id']}-result"
        result = {
            "messageId": message_id,
            "toolCallId": call_id,
            "content": payload["output"],
            "role": "tool",
        }
        yield event("TOOL_CALL_RESULT", **result)
        if payload.get("failed"):
            yield event("CUSTOM", name="tool.failed", value={"toolCallId": call_id, "name": payload["name"]})

    def nested_tool_called(self, payload: Payload) -> Iterator[bytes]:
        """Send what an agent calls that is a tool: frontends send tool calls back as those of the thread."""
        self._nested.add(payload)
        yield event("CUSTOM", name=payload["type"], value=fields_of(payload))

    nested_tool_output = nested_tool_called

    def memory_recalled(self, payload: Payload) -> Iterator[bytes]:
        """Send what an agent knows or notes of a person, or that it reads a summary."""
        yield event("CUSTOM", name=payload["type"], value=fields_of(payload))

    memory_noted = history_compacted = memory_recalled

    def agent_changed(self, payload: Payload) -> Iterator[bytes]:
        """End one agent's step and start the other's."""
        yield event("STEP_FINISHED", stepName=self._agent)
        self._agent = payload["to"]
        yield event("CUSTOM", name="agent.changed", value={"from": payload["from"], "to": payload["to"]})
        yield self._snapshot()
        yield event("STEP_STARTED", stepName=self._agent)

    def approval_required(self, payload: Payload) -> Iterator[bytes]:
        """Send a request for approval."""
        # The frontend knows the calls of the run's own agent.
        own_call = self._nested.outermost(payload["call_id"])
        about = {"reason": "tool_call", "toolCallId": own_call, "message": f"Call {payload['name']}?"}
        self._interrupts.append({"id": payload["approval_id"], **about, "responseSchema": APPROVAL_SCHEMA})
        value = {name: payload[name] for name in APPROVAL_FIELDS if name in payload}
        yield event("CUSTOM", name="approval.required", value=value)

    def run_resumed(self, payload: Payload) -> Iterator[bytes]:
        """End retracted items, and mark them; they are sent again under another id."""
        self._interrupts.clear()
        withdrawn = [self._id(item_id) for item_id in payload["withdrawn"]]
        for item_id in payload["withdrawn"]:
            yield from self._end(item_id)
        yield event("CUSTOM", name="run.resumed", value={"withdrawn": withdrawn})

    def run_completed(self, payload: Payload) -> Iterator[bytes]:
        """End a completed run, after the calls of the frontend's own tools."""
        for call in payload.get("tool_calls", ()):
            yield from self.tool_called(call)
        yield from self._finish(payload, {"type": "success"})

    def run_waiting(self, payload: Payload) -> Iterator[bytes]:
        """End the stream of a run that waits for approvals."""
        yield from self._finish(payload, {"type": "interrupt", "interrupts": self._interrupts})

    def run_cancelled(self, payload: Payload) -> Iterator[bytes]:
        """End a cancelled run."""
        yield from self._finish(payload, {"type": "cancelled"})

    def run_failed(self, payload: Payload) -> Iterator[bytes]:
        """End a failed run with its code."""
        members = {name: payload[name] for name in ERROR_MEMBERS if name in payload}
        own = {"message": payload["detail"], "code": payload["code"], "usage": usage_of(payload)}
        yield event("RUN_ERROR", **own, **members)

    def _finish(self, payload: Payload, outcome: dict[str, Any]) -> Iterator[bytes]:
        for item_id in [*self._open]:
            yield from self._end(item_id)
        yield event("STEP_FINISHED", stepName=self._agent)
        status = payload["type"].removeprefix("run.")
        result = {"status": status, "agent": self._agent, "run_id": str(self._run_id)}
        yield event("RUN_FINISHED", **self._ids, result=result, outcome=outcome, usage=usage_of(payload))

    def _end(self, item_id: str) -> Iterator[bytes]:
        for type in self._open.pop(item_id, ()):
            yield event(type, messageId=self._id(item_id))

    def _snapshot(self) -> bytes:
        run_id, conversation_id = str(self._run_id), self._conversation_id
        ours = {"agent": self._agent, "run_id": run_id, "conversation_id": conversation_id}
        shared = self._state if isinstance(self._state, dict) else {}
        return event("STATE_SNAPSHOT", snapshot={**shared, "acme": ours})

    def _id(self, item_id: str) -> str:
        return unique_item_id("msg", self._run_id, item_id)


# What is to be answered to an interrupt.
APPROVAL_SCHEMA = {
    "type": "object",
    "properties": {"approved": {"type": "boolean"}, "reason": {"type": "string"}},
    "required": ["approved"],
}


def event(type: str, **fields: Any) -> bytes:
    """Return one event of AG-UI."""
    return data_event({"type": type, **fields})


def usage_of(payload: Payload) -> list[dict[str, Any]]:
    """Return what was used, by model, as AG-UI has it."""
    return [
        {
            "model": one["model"],
            "inputTokens": one["input_tokens"],
            "outputTokens": one["output_tokens"],
            "totalTokens": one["input_tokens"] + one["output_tokens"],
            "reasoningTokens": one["reasoning_tokens"],
            "cachedInputTokens": one["cached_tokens"],
        }
        for one in (payload.get("usage") or {}).get("models", [])
    ]
