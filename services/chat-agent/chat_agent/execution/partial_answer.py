"""The items with which a run that breaks off leaves its conversation consistent."""

from collections.abc import Sequence
from typing import Any

from chat_agent.models import Run, ToolCall
from chat_agent.runs.tool_calls import missing_items, output_item

NOT_EXECUTED = "Not carried out: the run ended first."


def closing_items(items: Sequence[dict[str, Any]], unstored: Sequence[ToolCall]) -> list[dict[str, Any]]:
    """Return an output for every call that has none: the recorded one, or that it was not carried out."""
    outputs = [item for call in unstored for item in missing_items(call, items)]
    closed = {item.get("call_id") for item in (*items, *outputs) if item["type"] == "function_call_output"}
    calls = [item["call_id"] for item in items if item["type"] == "function_call"]
    return [*outputs, *(output_item(id_, NOT_EXECUTED) for id_ in calls if id_ not in closed)]


def incomplete_message(run: Run, text: str) -> list[dict[str, Any]]:
    """Return the item of an answer that was cut off, if there is any text."""
    if not text:
        return []
    part = {"type": "output_text", "text": text, "annotations": []}
    ids = {"id": f"msg_{run.id.hex}_{run.attempt}", "type": "message", "role": "assistant"}
    return [{**ids, "status": "incomplete", "content": [part]}]
