"""Tells what the Agents SDK does in the words of the run's event stream."""

import re
from collections.abc import Sequence
from typing import Any

from agents import Agent, AgentUpdatedStreamEvent, RawResponsesStreamEvent, RunItemStreamEvent, StreamEvent
from agents.items import ToolCallOutputItem

from chat_agent.event_log import recovery
from chat_agent.event_log.buffer import RunLog
from chat_agent.event_log.recovery import HANDOFF, Told, text_of

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


class Narrator:
    """Follows one run; knows what it needs to tell the next thing: item ids, agent, unfinished text."""

    def __init__(self, log: RunLog, agent: Agent[Any]) -> None:
        self.agent = agent
        self.handoffs: list[str] = []
        # What was said last, to its end.
        self.last_text = ""
        self._log = log
        self._items = 0
        self._open: dict[int, str] = {}
        self._unfinished: dict[str, list[str]] = {}
        self._names: dict[str, str] = {}

    @property
    def unfinished_text(self) -> str:
        """Give what was being said when the run broke off."""
        return "".join("".join(parts) for parts in self._unfinished.values())

    def go_on(self, told: Told, made: Sequence[dict[str, Any]], agent: Agent[Any], why: str) -> None:
        """Go on with what another process began: take back what is to be said anew, tell what is not told."""
        self._items = told.items
        self.handoffs = recovery.handoffs(made)
        self._names = {item["call_id"]: item["name"] for item in made if item.get("type") == "function_call"}
        self._log.append("run.resumed", withdrawn=recovery.withdrawn(told, made), reason=why)
        self.agent = agent
        if told.agent != agent.name:
            self._log.append("agent.changed", **{"from": told.agent, "to": agent.name})
        for item in recovery.untold(told, made):
            self._retell(item)

    def keep_partial(self) -> str:
        """Tell that what was being said stays as it is, cut off; gives it."""
        text = self.unfinished_text
        for item_id, parts in self._unfinished.items():
            item = {"id": item_id, "kind": "message", "role": "assistant", "text": "".join(parts)}
            self._log.append("item.completed", item={**item, "incomplete": True})
        self._unfinished.clear()
        return text

    def _retell(self, item: dict[str, Any]) -> None:
        """Tell an item as a whole that is stored and was never told."""
        item_id = self._new_item()
        if item.get("type") == "function_call_output":
            self._tell_output(item_id, item["call_id"], str(item["output"]))
            return
        kind = "handoff" if recovery.is_handoff(item) else KINDS[item.get("type", "message")]
        self._log.append("item.started", item={"id": item_id, "kind": kind})
        if kind in {"message", "reasoning"}:
            text = text_of(item.get("content") or item.get("summary") or "")
            self._log.append(f"{kind}.delta", item_id=item_id, delta=text)
            content: dict[str, Any] = {"text": text}
        else:
            content = {name: item[name] for name in ("call_id", "name", "arguments")}
        self._log.append("item.completed", item={"id": item_id, "kind": kind, **content})
        if kind == "tool_call":
            self._log.append("tool.called", **content)

    def tell(self, event: StreamEvent) -> None:
        """Add to the log what one event of the SDK means; most of its raw events mean nothing to a reader."""
        if isinstance(event, RawResponsesStreamEvent):
            if (tell := RAW.get(event.data.type)) is not None:
                tell(self, event.data)
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
        self._log.append("item.started", item={"id": item_id, "kind": kind})

    def _message_delta(self, data: Any) -> None:
        item_id = self._open.get(data.output_index)
        if item_id and data.delta:
            self._unfinished.setdefault(item_id, []).append(data.delta)
            self._log.append("message.delta", item_id=item_id, delta=data.delta)

    def _reasoning_delta(self, data: Any) -> None:
        item_id = self._open.get(data.output_index)
        if item_id and data.delta:
            self._log.append("reasoning.delta", item_id=item_id, delta=data.delta)

    def _item_completed(self, data: Any) -> None:
        item_id = self._open.pop(data.output_index, None)
        if item_id is None:
            return
        self._unfinished.pop(item_id, None)
        kind = self._kind(data.item)
        content = self._content(data.item)
        self._log.append("item.completed", item={"id": item_id, "kind": kind, **content})
        if kind == "message":
            self.last_text = content["text"]
        if kind == "tool_call":
            self._names[data.item.call_id] = data.item.name
            self._log.append(
                "tool.called",
                call_id=data.item.call_id,
                name=data.item.name,
                arguments=presentable(data.item.arguments),
            )

    def _tool_output(self, item: ToolCallOutputItem) -> None:
        output = item.output if isinstance(item.output, str) else str(item.output)
        self._tell_output(self._new_item(), item.call_id or "", output)

    def _tell_output(self, item_id: str, call_id: str, text: str) -> None:
        output = presentable(text)
        content = {"id": item_id, "kind": "tool_output", "call_id": call_id, "output": output}
        self._log.append("item.completed", item=content)
        self._log.append("tool.output", call_id=call_id, name=self._names.get(call_id, ""), output=output)

    def _agent_changed(self, agent: Agent[Any]) -> None:
        if agent.name != self.agent.name:
            self.handoffs.append(agent.name)
            self._log.append("agent.changed", **{"from": self.agent.name, "to": agent.name})
            self.agent = agent

    def _kind(self, item: Any) -> str | None:
        kind = KINDS.get(item.type)
        is_handoff = kind == "tool_call" and item.name.startswith(HANDOFF)
        return "handoff" if is_handoff else kind

    def _new_item(self) -> str:
        self._items += 1
        return f"item_{self._items}"

    @staticmethod
    def _content(item: Any) -> dict[str, Any]:
        if item.type == "message":
            refused = any(part.type == "refusal" for part in item.content)
            return {
                "role": item.role,
                "text": spoken(item.content),
                **({"refusal": True} if refused else {}),
            }
        if item.type == "function_call":
            return {"call_id": item.call_id, "name": item.name, "arguments": presentable(item.arguments)}
        return {"text": spoken(item.summary)}


def spoken(parts: Any) -> str:
    """Join the text of a message's parts, or of a reasoning's summary; a refusal is text as well."""
    return "".join(part.refusal if part.type == "refusal" else part.text for part in parts)


def presentable(text: str) -> str:
    """Mask what looks like a secret, and cut what is too long to be shown."""
    masked = SECRETS.sub("[masked]", text)
    if len(masked) <= MAX_OUTPUT:
        return masked
    return f"{masked[:MAX_OUTPUT]} [cut: {len(masked) - MAX_OUTPUT} more characters]"


RAW = {
    "response.output_item.added": Narrator._item_started,  # the table of its own methods
    "response.output_text.delta": Narrator._message_delta,
    "response.refusal.delta": Narrator._message_delta,
    "response.reasoning_summary_text.delta": Narrator._reasoning_delta,
    "response.output_item.done": Narrator._item_completed,
}
