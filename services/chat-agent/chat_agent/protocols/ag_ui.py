"""The voice of AG-UI 1.0, the protocol between agents and frontends that CopilotKit speaks."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from chat_agent.protocols.encoder import Told, Voice, data, item_name


@dataclass(frozen=True)
class Thread:
    """What the frontend calls the conversation and the run, and the state that it shares."""

    thread_id: str
    run_id: str
    state: Any = None


class AgUiEvents(Voice):
    """Says a run as AG-UI events: an agent's part of it is a step, the rest is CUSTOM."""

    def __init__(self, run_id: UUID, thread: Thread) -> None:
        self._run_id = run_id
        self._ids = {"threadId": thread.thread_id, "runId": thread.run_id}
        self._state = thread.state
        self._agent = self._conversation_id = ""
        self._interrupts: list[dict[str, Any]] = []
        # What is being said: the id of the item, and the events that end it.
        self._open: dict[str, tuple[str, ...]] = {}

    def run_started(self, told: Told) -> Iterator[bytes]:
        """Begin, with the first agent's step."""
        self._agent, self._conversation_id = told["agent"], told["conversation_id"]
        yield from self.reopen()

    def reopen(self) -> Iterator[bytes]:
        """See `Voice`."""
        yield event("RUN_STARTED", **self._ids)
        yield self._snapshot()
        yield event("STEP_STARTED", stepName=self._agent)

    def message_started(self, item: Told) -> Iterator[bytes]:
        """Begin a message."""
        self._open[item["id"]] = ("TEXT_MESSAGE_END",)
        yield event("TEXT_MESSAGE_START", messageId=self._id(item["id"]), role="assistant")

    def message_delta(self, told: Told) -> Iterator[bytes]:
        """Say more of it."""
        yield event("TEXT_MESSAGE_CONTENT", messageId=self._id(told["item_id"]), delta=told["delta"])

    def message_completed(self, item: Told) -> Iterator[bytes]:
        """End it."""
        yield from self._end(item["id"])

    def reasoning_started(self, item: Told) -> Iterator[bytes]:
        """Begin to tell what the model thinks."""
        self._open[item["id"]] = ("REASONING_MESSAGE_END", "REASONING_END")
        yield event("REASONING_START", messageId=self._id(item["id"]))
        yield event("REASONING_MESSAGE_START", messageId=self._id(item["id"]), role="reasoning")

    def reasoning_delta(self, told: Told) -> Iterator[bytes]:
        """Tell more of it."""
        yield event("REASONING_MESSAGE_CONTENT", messageId=self._id(told["item_id"]), delta=told["delta"])

    def reasoning_completed(self, item: Told) -> Iterator[bytes]:
        """End it."""
        yield from self._end(item["id"])

    def tool_called(self, told: Told) -> Iterator[bytes]:
        """Show a call of a tool, whole at once."""
        call = {"toolCallId": told["call_id"]}
        yield event("TOOL_CALL_START", **call, toolCallName=told["name"])
        yield event("TOOL_CALL_ARGS", **call, delta=told["arguments"])
        yield event("TOOL_CALL_END", **call)

    def tool_output(self, told: Told) -> Iterator[bytes]:
        """Show what the tool gave back."""
        call_id, message_id = told["call_id"], f"{told['call_id']}-result"
        result = {"messageId": message_id, "toolCallId": call_id, "content": told["output"], "role": "tool"}
        yield event("TOOL_CALL_RESULT", **result)

    def agent_changed(self, told: Told) -> Iterator[bytes]:
        """End one agent's step and begin the other's."""
        yield event("STEP_FINISHED", stepName=self._agent)
        self._agent = told["to"]
        yield event("CUSTOM", name="agent.changed", value={"from": told["from"], "to": told["to"]})
        yield self._snapshot()
        yield event("STEP_STARTED", stepName=self._agent)

    def approval_required(self, told: Told) -> Iterator[bytes]:
        """Say that a person must allow something."""
        about = {"reason": "tool_call", "toolCallId": told["call_id"], "message": f"Call {told['name']}?"}
        self._interrupts.append({"id": told["approval_id"], **about, "responseSchema": ALLOWED})
        value = {name: told[name] for name in ("run_id", "approval_id", "name", "arguments")}
        yield event("CUSTOM", name="approval.required", value=value)

    def run_resumed(self, told: Told) -> Iterator[bytes]:
        """End what was withdrawn, and say that it does not count; it is said anew under another id."""
        self._interrupts.clear()
        withdrawn = [self._id(item_id) for item_id in told["withdrawn"]]
        for item_id in told["withdrawn"]:
            yield from self._end(item_id)
        yield event("CUSTOM", name="run.resumed", value={"withdrawn": withdrawn})

    def run_completed(self, told: Told) -> Iterator[bytes]:
        """End well."""
        yield from self._finish(told, {"type": "success"})

    def run_waiting(self, told: Told) -> Iterator[bytes]:
        """End what is said for now; the run rests until it is allowed to go on."""
        yield from self._finish(told, {"type": "interrupt", "interrupts": self._interrupts})

    def run_cancelled(self, told: Told) -> Iterator[bytes]:
        """End because somebody wished so."""
        yield from self._finish(told, {"type": "cancelled"})

    def run_failed(self, told: Told) -> Iterator[bytes]:
        """End by the name of what went wrong."""
        yield event("RUN_ERROR", message=told["detail"], code=told["code"], usage=usage_of(told))

    def _finish(self, told: Told, outcome: dict[str, Any]) -> Iterator[bytes]:
        for item_id in [*self._open]:
            yield from self._end(item_id)
        yield event("STEP_FINISHED", stepName=self._agent)
        status = told["type"].removeprefix("run.")
        result = {"status": status, "agent": self._agent, "run_id": str(self._run_id)}
        yield event("RUN_FINISHED", **self._ids, result=result, outcome=outcome, usage=usage_of(told))

    def _end(self, item_id: str) -> Iterator[bytes]:
        for type in self._open.pop(item_id, ()):
            yield event(type, messageId=self._id(item_id))

    def _snapshot(self) -> bytes:
        run_id, conversation_id = str(self._run_id), self._conversation_id
        ours = {"agent": self._agent, "run_id": run_id, "conversation_id": conversation_id}
        shared = self._state if isinstance(self._state, dict) else {}
        return event("STATE_SNAPSHOT", snapshot={**shared, "acme": ours})

    def _id(self, item_id: str) -> str:
        return item_name("msg", self._run_id, item_id)


# What is to be answered to an interrupt.
ALLOWED = {
    "type": "object",
    "properties": {"approved": {"type": "boolean"}, "reason": {"type": "string"}},
    "required": ["approved"],
}


def event(type: str, **fields: Any) -> bytes:
    """Give one event of AG-UI."""
    return data({"type": type, **fields})


def usage_of(told: Told) -> list[dict[str, Any]]:
    """Give what was used, by model, as AG-UI has it."""
    return [
        {
            "model": one["model"],
            "inputTokens": one["input_tokens"],
            "outputTokens": one["output_tokens"],
            "totalTokens": one["input_tokens"] + one["output_tokens"],
            "reasoningTokens": one["reasoning_tokens"],
            "cachedInputTokens": one["cached_tokens"],
        }
        for one in (told.get("usage") or {}).get("models", [])
    ]
