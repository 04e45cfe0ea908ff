"""Translates events of the Agents SDK into events of a run."""

import re
from collections.abc import Sequence, Set
from typing import Any

from agents import Agent, AgentUpdatedStreamEvent, RawResponsesStreamEvent, RunItemStreamEvent, StreamEvent
from agents.items import ToolCallOutputItem

from chat_agent.event_log import recovery
from chat_agent.event_log.buffer import EventBuffer
from chat_agent.event_log.citations import citations_in, urls_in
from chat_agent.event_log.logprobs import logprobs_of
from chat_agent.event_log.recovery import HANDOFF, LoggedState, join_text
from chat_agent.event_log.store import EventType
from chat_agent.items import called_tools, is_output

MAX_OUTPUT = 8_000
# Linear in the text: of a word that may hold a JWT only its first `eyJ` is tried, and only once.
SECRETS = re.compile(
    r"""(?ix)
    \bsk-[\w-]{8,}
    | (?<![\w-]) (?:(?!eyJ)[\w-])*+ eyJ[\w-]{10,}+ \.[\w-]++ \.[\w-]++
    | (?<=bearer\ )[\w.~+/-]{16,}+=*
    """
)
KINDS = {"message": "message", "reasoning": "reasoning", "function_call": "tool_call"}


class EventTranslator:
    """Translates for one run; holds item ids, the agent and partial text."""

    def __init__(
        self,
        log: EventBuffer,
        agent: Agent[Any],
        client_tools: frozenset[str] = frozenset(),
        failed_calls: Set[str] = frozenset(),
        *,
        wants_logprobs: bool = False,
    ) -> None:
        self.agent = agent
        # Grows with the run.
        self._failed_calls = failed_calls
        # Calls of these end the run, and are in its last event.
        self._client_tools = client_tools
        self._wants_logprobs = wants_logprobs
        self.handoffs: list[str] = []
        # The last message that was completed.
        self.last_text = ""
        self._log = log
        self._last_item = 0
        self._open: dict[int, str] = {}
        self._partial: dict[str, list[str]] = {}
        self._names: dict[str, str] = {}
        # Addresses in the outputs of tools.
        self._sources: set[str] = set()

    @property
    def partial_text(self) -> str:
        """Return the text of messages that are not completed."""
        return "".join("".join(parts) for parts in self._partial.values())

    def resume(
        self, state: LoggedState, items: Sequence[dict[str, Any]], agent: Agent[Any], reason: str
    ) -> None:
        """Resume the log of another attempt: retract unstored items, append missing ones."""
        items = [item for item in items if item.get("name") not in self._client_tools]
        self._last_item = state.highest_item
        self.handoffs = recovery.handoffs(items)
        self._names = called_tools(items)
        for item in items:
            if is_output(item):
                self._sources |= urls_in(str(item["output"]))
        self._log.append(
            EventType.RUN_RESUMED, withdrawn=recovery.retracted_items(state, items), reason=reason
        )
        self.agent = agent
        if state.agent != agent.name:
            self._log.append(EventType.AGENT_CHANGED, **{"from": state.agent, "to": agent.name})
        for item in recovery.missing_items(state, items):
            self._replay(item)

    def complete_partial(self) -> str:
        """Complete partial messages as incomplete; return their text."""
        text = self.partial_text
        for item_id, parts in self._partial.items():
            item = {"id": item_id, "kind": "message", "role": "assistant", "text": "".join(parts)}
            self._log.append(EventType.ITEM_COMPLETED, item={**item, "incomplete": True})
        self._partial.clear()
        return text

    def _replay(self, item: dict[str, Any]) -> None:
        """Append an item that is stored and missing in the log."""
        item_id = self._new_item()
        if is_output(item):
            self._append_output(item_id, item["call_id"], str(item["output"]))
            return
        kind = "handoff" if recovery.is_handoff(item) else KINDS[item.get("type", "message")]
        self._log.append(EventType.ITEM_STARTED, item={"id": item_id, "kind": kind})
        if kind in {"message", "reasoning"}:
            text = join_text(item.get("content") or item.get("summary") or "")
            self._log.append(EventType(f"{kind}.delta"), item_id=item_id, delta=text)
            content: dict[str, Any] = {"text": text, **self._citations(kind, text)}
        else:
            content = {name: item[name] for name in ("call_id", "name", "arguments")}
        self._log.append(EventType.ITEM_COMPLETED, item={"id": item_id, "kind": kind, **content})
        if kind == "tool_call":
            self._log.append(EventType.TOOL_CALLED, **content)

    def handle(self, event: StreamEvent) -> None:
        """Append what one event of the SDK means; most of its raw events are skipped."""
        if isinstance(event, RawResponsesStreamEvent):
            if (handler := RAW_HANDLERS.get(event.data.type)) is not None:
                handler(self, event.data)
        elif isinstance(event, RunItemStreamEvent):
            if isinstance(event.item, ToolCallOutputItem):
                self._tool_output(event.item)
        elif isinstance(event, AgentUpdatedStreamEvent):
            self._agent_changed(event.new_agent)

    def _item_started(self, data: Any) -> None:
        kind = self._kind(data.item)
        if kind is None:
            return
        item_id = self._open[data.output_index] = self._new_item()
        self._log.append(EventType.ITEM_STARTED, item={"id": item_id, "kind": kind})

    def _message_delta(self, data: Any) -> None:
        item_id = self._open.get(data.output_index)
        if item_id and data.delta:
            self._partial.setdefault(item_id, []).append(data.delta)
            logprobs = logprobs_of(data) if self._wants_logprobs else []
            more = {"logprobs": logprobs} if logprobs else {}
            self._log.append(EventType.MESSAGE_DELTA, item_id=item_id, delta=data.delta, **more)

    def _reasoning_delta(self, data: Any) -> None:
        item_id = self._open.get(data.output_index)
        if item_id and data.delta:
            self._log.append(EventType.REASONING_DELTA, item_id=item_id, delta=data.delta)

    def _item_completed(self, data: Any) -> None:
        item_id = self._open.pop(data.output_index, None)
        if item_id is None:
            return
        self._partial.pop(item_id, None)
        kind = self._kind(data.item)
        content = self._content(data.item)
        content |= self._citations(kind, content.get("text", ""))
        self._log.append(EventType.ITEM_COMPLETED, item={"id": item_id, "kind": kind, **content})
        if kind == "message":
            self.last_text = content["text"]
        if kind == "tool_call":
            self._names[data.item.call_id] = data.item.name
            self._log.append(
                EventType.TOOL_CALLED,
                call_id=data.item.call_id,
                name=data.item.name,
                arguments=redact(data.item.arguments),
            )

    def _tool_output(self, item: ToolCallOutputItem) -> None:
        output = item.output if isinstance(item.output, str) else str(item.output)
        self._append_output(self._new_item(), item.call_id or "", output)

    def _append_output(self, item_id: str, call_id: str, text: str) -> None:
        self._sources |= urls_in(text)
        output, name = redact(text), self._names.get(call_id, "")
        failure = {"failed": True} if call_id in self._failed_calls else {}
        content = {"id": item_id, "kind": "tool_output", "call_id": call_id, "output": output, **failure}
        self._log.append(EventType.ITEM_COMPLETED, item=content)
        self._log.append(EventType.TOOL_OUTPUT, call_id=call_id, name=name, output=output, **failure)

    def _agent_changed(self, agent: Agent[Any]) -> None:
        if agent.name != self.agent.name:
            self.handoffs.append(agent.name)
            self._log.append(EventType.AGENT_CHANGED, **{"from": self.agent.name, "to": agent.name})
            self.agent = agent

    def _citations(self, kind: str | None, text: str) -> dict[str, Any]:
        citations = citations_in(text, self._sources) if kind == "message" else []
        return {"citations": citations} if citations else {}

    def _kind(self, item: Any) -> str | None:
        kind = KINDS.get(item.type)
        if kind == "tool_call" and item.name in self._client_tools:
            return None
        is_handoff = kind == "tool_call" and item.name.startswith(HANDOFF)
        return "handoff" if is_handoff else kind

    def _new_item(self) -> str:
        self._last_item += 1
        return f"item_{self._last_item}"

    @staticmethod
    def _content(item: Any) -> dict[str, Any]:
        if item.type == "message":
            refused = any(part.type == "refusal" for part in item.content)
            return {
                "role": item.role,
                "text": join_parts(item.content),
                **({"refusal": True} if refused else {}),
            }
        if item.type == "function_call":
            return {"call_id": item.call_id, "name": item.name, "arguments": redact(item.arguments)}
        return {"text": join_parts(item.summary)}


def join_parts(parts: Any) -> str:
    """Join the text of a message's parts, or of a reasoning's summary; a refusal is text as well."""
    return "".join(part.refusal if part.type == "refusal" else part.text for part in parts)


def redact(text: str) -> str:
    """Mask secrets, and truncate text that is too long."""
    masked = SECRETS.sub("[masked]", text)
    if len(masked) <= MAX_OUTPUT:
        return masked
    return f"{masked[:MAX_OUTPUT]} [cut: {len(masked) - MAX_OUTPUT} more characters]"


RAW_HANDLERS = {
    "response.output_item.added": EventTranslator._item_started,  # the table of its own methods
    "response.output_text.delta": EventTranslator._message_delta,
    "response.refusal.delta": EventTranslator._message_delta,
    "response.reasoning_summary_text.delta": EventTranslator._reasoning_delta,
    "response.output_item.done": EventTranslator._item_completed,
}
