"""Which part of a history is summarized: whole turns, and each call of a tool with its output."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Any

from chat_agent.clients.conversation import StoredItem
from chat_agent.event_log.recovery import join_text
from chat_agent.items import is_call, is_output

# Of one message, or of what a tool was given or has answered; more of it is cut.
MAX_TEXT = 8000
OMITTED = " [...]"


def part_to_summarize(history: Sequence[StoredItem], keep_turns: int, room: int) -> list[StoredItem]:
    """Return the oldest items without the newest turns, about as many as have so many characters.

    Empty where there is nothing but an earlier summary.
    """
    turns = [index for index, item in enumerate(history) if item.data.get("role") == "user"]
    if len(turns) <= keep_turns:
        return []
    newest = turns[-keep_turns]
    first = 1 if history[0].kind == "summary" else 0
    ends = [end for end in whole_turns(history) if first < end <= newest]
    sizes = [0, *accumulate(len(text_of(item)) for item in history)]
    fitting = [end for end in ends if sizes[end] <= room]
    return list(history[: max(fitting) if fitting else min(ends, default=0)])


def whole_turns(history: Sequence[StoredItem]) -> Iterator[int]:
    """Yield where turns begin and no call of a tool is parted from its output."""
    last = {item.data.get("call_id"): index for index, item in enumerate(history)}
    reach = -1
    for index, item in enumerate(history):
        if item.data.get("role") == "user" and reach < index:
            yield index
        if call_id := item.data.get("call_id"):
            reach = max(reach, last[call_id])


def text_of(item: StoredItem) -> str:
    """Return an item as the model reads it that summarizes."""
    if item.kind == "summary":
        return f"summary of what came before: {item.data['text']}"
    return line_of(item.data)


def line_of(data: Mapping[str, Any]) -> str:
    """Return a message, a call or an output in one text; of anything else, nothing."""
    if data.get("role"):
        text = join_text(data.get("content") or "") or "[an image or a file]"
        return f"{data['role']}: {shortened(text)}"
    if is_call(data):
        return f"assistant calls {data.get('name')}: {shortened(str(data.get('arguments')))}"
    if is_output(data):
        return f"output: {shortened(str(data.get('output')))}"
    return ""


def shortened(text: str) -> str:
    """Cut what is too long to be summarized with the rest."""
    return text if len(text) <= MAX_TEXT else text[:MAX_TEXT] + OMITTED
