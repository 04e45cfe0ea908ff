"""Logs of runs as they could have been, and what a client reads of them in each voice."""

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import orjson
from chat_agent.event_log.store import RunEvent, make_event
from chat_agent.models import Run
from chat_agent.protocols.ag_ui import AgUiEvents, Thread
from chat_agent.protocols.ai_sdk import UiMessageStream
from chat_agent.protocols.encoder import ProtocolEncoder
from chat_agent.protocols.openai.chat_completions import ChatCompletion
from chat_agent.protocols.openai.responses_stream import ResponseStream

Fields = dict[str, Any]
RUN = Run(
    options={},
    id=UUID(int=1),
    conversation_id=UUID(int=2),
    agent="triage",
    model="a-model",
    created_at=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
)
ENCODERS: dict[str, Callable[[], ProtocolEncoder]] = {
    "openai_chat": lambda: ChatCompletion(RUN, include_usage=True),
    "openai_responses": lambda: ResponseStream(RUN),
    "ag_ui": lambda: AgUiEvents(RUN.id, Thread("a thread", "a run", {"theme": "dark"})),
    "ui_messages": UiMessageStream,
}
STARTED = ("run.started", {"agent": "triage", "model": "a-model"})
TOKENS = {
    "input_tokens": 20,
    "output_tokens": 10,
    "cached_tokens": 5,
    "reasoning_tokens": 3,
}
END: Fields = {
    "agent": "code_assistant",
    "handoffs": ["code_assistant"],
    "output": "Hello",
    "usage": {**TOKENS, "models": [{"model": "a-model", "requests": 1, **TOKENS}]},
}
FAILED = ("run.failed", {**END, "code": "model_unavailable", "detail": "The model does not answer."})
APPROVAL: Fields = {
    "approval_id": "ap_1",
    "call_id": "call_1",
    "name": "refund",
    "arguments": '{"amount":12}',
}
MEMORY: Fields = {"id": str(UUID(int=3)), "kind": "fact", "text": "I live in Basel"}

Script = list[tuple[str, Fields]]


def item(type: str, id: str, kind: str, **more: object) -> tuple[str, Fields]:
    return type, {"item": {"id": id, "kind": kind, **more}}


def item_start(id: str, deltas: Iterable[str], kind: str = "message") -> Script:
    """Begin to say something."""
    texts: Script = [(f"{kind}.delta", {"item_id": id, "delta": delta}) for delta in deltas]
    return [item("item.started", id, kind), *texts]


def whole_item(id: str, *deltas: str, kind: str = "message", **more: object) -> Script:
    """Return a message."""
    whole = item("item.completed", id, kind, role="assistant", text="".join(deltas), **more)
    return [*item_start(id, deltas, kind), whole]


def tool_call(id: str, call_id: str) -> Script:
    """Call a tool, and hear of it."""
    call: Fields = {"call_id": call_id, "name": "current_time", "arguments": '{"zone":"UTC"}'}
    output: Fields = {"call_id": call_id, "output": "12:00"}
    return [
        item("item.started", id, "tool_call"),
        item("item.completed", id, "tool_call", **call),
        ("tool.called", call),
        item("item.completed", f"{id}_output", "tool_output", **output),
        ("tool.output", {**output, "name": "current_time"}),
    ]


def complete_run() -> Script:
    """Do all that a run can do that ends well."""
    return [
        STARTED,
        ("memory.recalled", {"agent": "triage", "memories": [MEMORY]}),
        *whole_item("item_1", "Let me ", "see.", kind="reasoning"),
        *tool_call("item_2", "call_1"),
        ("memory.noted", {"agent": "triage", "memory": MEMORY, "supersedes": f"{UUID(int=4)}"}),
        item("item.started", "item_4", "handoff"),
        item("item.completed", "item_4", "handoff", call_id="call_2", name="transfer", arguments="{}"),
        ("agent.changed", {"from": "triage", "to": "code_assistant"}),
        *whole_item("item_5", "Hel", "lo"),
        ("run.completed", END),
    ]


def events(script: Script) -> list[RunEvent]:
    """Number what happens."""
    return [
        make_event(seq, type, RUN.id, RUN.conversation_id, fields, RUN.created_at)
        for seq, (type, fields) in enumerate(script, 1)
    ]


def encode_all(protocol: ProtocolEncoder, script: Script) -> bytes:
    """Encode a script in a protocol."""
    return b"".join(protocol.encode(event) for event in events(script))


def client_messages(name: str, script: Script) -> list[Any]:
    """Return the JSON that a client reads in a protocol."""
    lines = encode_all(ENCODERS[name](), script).split(b"\n")
    data = [line.removeprefix(b"data: ") for line in lines if line.startswith(b"data: ")]
    return [orjson.loads(one) for one in data if one != b"[DONE]"]


def text_of(name: str, received: list[Any]) -> str:
    """Put the text together as a client of this voice does."""
    return "".join(DELTAS[name](one) or "" for one in received)


def chat_delta(chunk: Any) -> Any:
    return chunk["choices"][0]["delta"].get("content") if chunk.get("choices") else None


DELTAS: dict[str, Callable[[Any], Any]] = {
    "openai_chat": chat_delta,
    "openai_responses": lambda one: one["type"] == "response.output_text.delta" and one["delta"],
    "ag_ui": lambda one: one["type"] == "TEXT_MESSAGE_CONTENT" and one["delta"],
    "ui_messages": lambda one: one["type"] == "text-delta" and one["delta"],
}


if __name__ == "__main__":
    for name, protocol in ENCODERS.items():
        Path(__file__).with_name("golden").joinpath(f"{name}.txt").write_bytes(
            encode_all(protocol(), complete_run())
        )
