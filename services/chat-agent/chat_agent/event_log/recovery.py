"""What a run has told, held against what it has stored: the difference is taken back, or told now."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from chat_agent.event_log.store import RunEvent

HANDOFF = "transfer_to_"
Identity = tuple[str, str]


@dataclass
class Told:
    """What the log of a run says so far."""

    last: int = 0
    agent: str | None = None
    whole: dict[str, dict[str, Any]] = field(default_factory=dict)
    begun: dict[str, str] = field(default_factory=dict)
    # The highest number that an item's name has had, `item_1` being the first; also of those withdrawn.
    items: int = 0

    def hear(self, event: RunEvent) -> None:
        """Take in one event."""
        self.last = event.seq
        data = cast("dict[str, Any]", event.json())
        match event.type:
            case "run.started":
                self.agent = data["agent"]
            case "agent.changed":
                self.agent = data["to"]
            case "item.started":
                self._name(data["item"]["id"])
                self.begun[data["item"]["id"]] = ""
            case "message.delta":
                self.begun[data["item_id"]] = self.begun.get(data["item_id"], "") + data["delta"]
            case "item.completed":
                self._name(data["item"]["id"])
                self.begun.pop(data["item"]["id"], None)
                self.whole[data["item"]["id"]] = data["item"]
            case "run.resumed":
                for item_id in data["withdrawn"]:
                    self.begun.pop(item_id, None)
                    self.whole.pop(item_id, None)

    def _name(self, item_id: str) -> None:
        self.items = max(self.items, int(item_id.removeprefix("item_")))


def read(events: Iterable[RunEvent]) -> Told:
    """Read a log from its beginning."""
    told = Told()
    for event in events:
        told.hear(event)
    return told


def withdrawn(told: Told, made: Sequence[dict[str, Any]]) -> list[str]:
    """List the items that were told and are not stored: they will be said anew."""
    stored = Counter(filter(None, map(identity, made)))
    taken_back = list(told.begun)
    for item_id, item in told.whole.items():
        name = told_identity(item)
        stored[name] -= 1
        if stored[name] < 0:
            taken_back.append(item_id)
    return taken_back


def untold(told: Told, made: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """List the items that are stored and were not told."""
    known = Counter(told_identity(item) for item in told.whole.values())
    missing = []
    for item in made:
        name = identity(item)
        if name is None or name in handoffs_done(made):
            continue
        known[name] -= 1
        if known[name] < 0:
            missing.append(item)
    return missing


def identity(item: dict[str, Any]) -> Identity | None:
    """Tell by what a stored item is recognised; none if it is of a kind that is not told."""
    match item.get("type", "message"):
        case "message":
            return ("message", text_of(item["content"]))
        case "reasoning":
            return ("reasoning", text_of(item.get("summary") or []))
        case "function_call":
            return ("call", item["call_id"])
        case "function_call_output":
            return ("output", item["call_id"])
    return None


def told_identity(item: dict[str, Any]) -> Identity:
    """Tell by what an item of the log is recognised."""
    match item["kind"]:
        case "message" | "reasoning" as kind:
            return (kind, item["text"])
        case "tool_output":
            return ("output", item["call_id"])
    return ("call", item["call_id"])


def handoffs_done(made: Sequence[dict[str, Any]]) -> set[Identity]:
    """List the outputs of handoffs, which are told as a change of the agent."""
    calls = {item["call_id"] for item in made if is_handoff(item)}
    return {("output", call_id) for call_id in calls}


def is_handoff(item: dict[str, Any]) -> bool:
    """Tell whether an item hands over to another agent."""
    return item.get("type") == "function_call" and str(item["name"]).startswith(HANDOFF)


def handoffs(made: Sequence[dict[str, Any]]) -> list[str]:
    """List the agents that were handed over to, one after the other."""
    done = {item["call_id"] for item in made if item.get("type") == "function_call_output"}
    return [
        str(item["name"]).removeprefix(HANDOFF)
        for item in made
        if is_handoff(item) and item["call_id"] in done
    ]


def answer(made: Sequence[dict[str, Any]]) -> str | None:
    """Give the answer with which a run has come to its end, if it has."""
    last = made[-1] if made else {}
    if last.get("role") != "assistant" or last.get("status") == "incomplete":
        return None
    return text_of(last["content"])


def text_of(parts: Any) -> str:
    """Join the text of a message's parts, or of a reasoning's summary; a refusal is text as well."""
    if isinstance(parts, str):
        return parts
    return "".join(part.get("refusal") or part.get("text") or "" for part in parts)
