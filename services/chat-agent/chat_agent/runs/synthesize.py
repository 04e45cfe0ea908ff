"""A run whose log is no longer kept, as its row remembers it: the least log that it can have had."""

from typing import Any

from chat_agent.event_log.store import RunEvent, make_event
from chat_agent.models import Run
from chat_agent.runs.outcome import outcome_of, terminal_event


def remembered(run: Run) -> list[RunEvent]:
    """Tell of a run that is over: what was answered, and how it ended."""
    told: list[tuple[str, dict[str, Any]]] = [("run.started", {"agent": run.agent, "model": run.model})]
    if run.output:
        told += said(run.output, incomplete=run.status != "completed")
    told.append(terminal_event(outcome_of(run)))
    at = run.ended_at or run.created_at
    return [
        make_event(seq, type, run.id, run.conversation_id, fields, at)
        for seq, (type, fields) in enumerate(told, 1)
    ]


def said(text: str, *, incomplete: bool) -> list[tuple[str, dict[str, Any]]]:
    """Tell one message."""
    item = {"id": "item_1", "kind": "message"}
    whole = {**item, "role": "assistant", "text": text, **({"incomplete": True} if incomplete else {})}
    return [
        ("item.started", {"item": item}),
        ("message.delta", {"item_id": "item_1", "delta": text}),
        ("item.completed", {"item": whole}),
    ]
