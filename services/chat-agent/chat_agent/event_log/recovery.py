"""Recovers a run's log: the difference to the stored items is retracted, or appended."""

import asyncio
import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from redis.exceptions import RedisError

from chat_agent.event_log.buffer import EventBuffer
from chat_agent.event_log.store import EventType, RunEvent
from chat_agent.items import answered_calls, is_call
from chat_agent.models import Run

logger = logging.getLogger(__name__)

RETRY_SECONDS = 0.5
HANDOFF = "transfer_to_"
Identity = tuple[str, str]


@dataclass
class LoggedState:
    """The state of a run's log."""

    last: int = 0
    agent: str | None = None
    completed: dict[str, dict[str, Any]] = field(default_factory=dict)
    partial: dict[str, str] = field(default_factory=dict)
    # The highest number of an item's id, `item_1` being the first; also of retracted items.
    highest_item: int = 0
    # The events of nested calls: their types, and the ids of the calls.
    nested_calls: set[tuple[str, str]] = field(default_factory=set)

    def apply(self, event: RunEvent) -> None:
        """Apply one event."""
        self.last = event.seq
        data = cast("dict[str, Any]", event.json())
        match event.type:
            case EventType.RUN_STARTED:
                self.agent = data["agent"]
            case EventType.AGENT_CHANGED:
                self.agent = data["to"]
            case EventType.ITEM_STARTED:
                self._note_item(data["item"]["id"])
                self.partial[data["item"]["id"]] = ""
            case EventType.MESSAGE_DELTA:
                self.partial[data["item_id"]] = self.partial.get(data["item_id"], "") + data["delta"]
            case EventType.ITEM_COMPLETED:
                self._note_item(data["item"]["id"])
                self.partial.pop(data["item"]["id"], None)
                self.completed[data["item"]["id"]] = data["item"]
            case EventType.TOOL_CALLED | EventType.TOOL_OUTPUT if "parent_call_id" in data:
                self.nested_calls.add((event.type, data["call_id"]))
            case EventType.RUN_RESUMED:
                for item_id in data["withdrawn"]:
                    self.partial.pop(item_id, None)
                    self.completed.pop(item_id, None)

    def _note_item(self, item_id: str) -> None:
        self.highest_item = max(self.highest_item, int(item_id.removeprefix("item_")))


def resume_reason(run: Run) -> str:
    """Return why a run is resumed here."""
    if run.state is not None:
        return "answered"
    return "worker_lost" if run.losses else "handed_over"


async def take_over(log: EventBuffer) -> LoggedState:
    """Become the writer of a run's log, and read it; waits for as long as Redis is away."""
    while True:
        try:
            last = await log.store.append(log.attempt, log.ttl_seconds)
            log.start_after(max(last, 0))
            return read_log_state(await log.store.all())
        except (RedisError, OSError) as error:
            logger.warning("log of a run not read yet", extra={"error": type(error).__name__})
            await asyncio.sleep(RETRY_SECONDS)


def read_log_state(events: Iterable[RunEvent]) -> LoggedState:
    """Read a log from its beginning."""
    state = LoggedState()
    for event in events:
        state.apply(event)
    return state


def retracted_items(state: LoggedState, items: Sequence[dict[str, Any]]) -> list[str]:
    """Return the logged items that are not stored: they will be generated again."""
    stored = Counter(filter(None, map(identity, items)))
    retracted = list(state.partial)
    for item_id, item in state.completed.items():
        name = logged_identity(item)
        stored[name] -= 1
        if stored[name] < 0:
            retracted.append(item_id)
    return retracted


def missing_items(state: LoggedState, items: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the stored items that are not logged."""
    logged = Counter(logged_identity(item) for item in state.completed.values())
    missing = []
    for item in items:
        name = identity(item)
        if name is None or name in completed_handoffs(items):
            continue
        logged[name] -= 1
        if logged[name] < 0:
            missing.append(item)
    return missing


def identity(item: dict[str, Any]) -> Identity | None:
    """Return what a stored item is matched by; none for kinds that are not logged."""
    match item.get("type", "message"):
        case "message":
            return ("message", join_text(item["content"]))
        case "reasoning":
            return ("reasoning", join_text(item.get("summary") or []))
        case "function_call":
            return ("call", item["call_id"])
        case "function_call_output":
            return ("output", item["call_id"])
    return None


def logged_identity(item: dict[str, Any]) -> Identity:
    """Return what a logged item is matched by."""
    match item["kind"]:
        case "message" | "reasoning" as kind:
            return (kind, item["text"])
        case "tool_output":
            return ("output", item["call_id"])
    return ("call", item["call_id"])


def completed_handoffs(items: Sequence[dict[str, Any]]) -> set[Identity]:
    """Return the outputs of handoffs, which are logged as a change of the agent."""
    calls = {item["call_id"] for item in items if is_handoff(item)}
    return {("output", call_id) for call_id in calls}


def is_handoff(item: dict[str, Any]) -> bool:
    """Return whether an item hands over to another agent."""
    return is_call(item) and str(item["name"]).startswith(HANDOFF)


def handoffs(items: Sequence[dict[str, Any]]) -> list[str]:
    """List the agents that were handed over to, one after the other."""
    done = answered_calls(items)
    return [
        str(item["name"]).removeprefix(HANDOFF)
        for item in items
        if is_handoff(item) and item["call_id"] in done
    ]


def final_answer(items: Sequence[dict[str, Any]], *, is_truncated: bool = False) -> str | None:
    """Return the answer that ends a run, if its items end with one; `is_truncated` allows a cut one."""
    last = items[-1] if items else {}
    if last.get("role") != "assistant" or (last.get("status") == "incomplete" and not is_truncated):
        return None
    return join_text(last["content"])


def pending_client_calls(
    items: Sequence[dict[str, Any]], client_tools: frozenset[str]
) -> list[dict[str, Any]]:
    """Return the calls of the caller's tools that end a run, if its items end with such calls."""
    done = answered_calls(items)
    calls = [item for item in items if is_call(item) and item["call_id"] not in done]
    if any(call["name"] not in client_tools for call in calls):
        return []
    return [{name: call[name] for name in ("call_id", "name", "arguments")} for call in calls]


def last_text(items: Sequence[dict[str, Any]]) -> str | None:
    """Return the text of the last message of an agent, if there is any."""
    texts = [join_text(item["content"]) for item in items if item.get("role") == "assistant"]
    return texts[-1] if texts else None


def join_text(parts: Any) -> str:
    """Join the text of a message's parts, or of a reasoning's summary; a refusal is text as well."""
    if isinstance(parts, str):
        return parts
    return "".join(part.get("refusal") or part.get("text") or "" for part in parts)
