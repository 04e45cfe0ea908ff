"""The events of a finished run whose log has expired, built from its row."""

from typing import Any

from chat_agent.event_log.store import EventType, RunEvent, make_event
from chat_agent.models import Run
from chat_agent.runs.outcome import outcome_from_row, terminal_event


def events_from_row(run: Run) -> list[RunEvent]:
    """Build the events of a finished run: its answer, and how it ended."""
    payloads: list[tuple[str, dict[str, Any]]] = [
        (EventType.RUN_STARTED, {"agent": run.agent, "model": run.model})
    ]
    if run.output:
        payloads += message_events(run.output, incomplete=run.status != "completed")
    payloads.append(terminal_event(outcome_from_row(run)))
    ended_at = run.ended_at or run.created_at
    return [
        make_event(seq, type, run.id, run.conversation_id, fields, ended_at)
        for seq, (type, fields) in enumerate(payloads, 1)
    ]


def message_events(text: str, *, incomplete: bool) -> list[tuple[str, dict[str, Any]]]:
    """Build the events of one message."""
    item = {"id": "item_1", "kind": "message"}
    completed = {**item, "role": "assistant", "text": text, **({"incomplete": True} if incomplete else {})}
    return [
        (EventType.ITEM_STARTED, {"item": item}),
        (EventType.MESSAGE_DELTA, {"item_id": "item_1", "delta": text}),
        (EventType.ITEM_COMPLETED, {"item": completed}),
    ]
