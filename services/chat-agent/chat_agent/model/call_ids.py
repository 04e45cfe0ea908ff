"""An id of its own for every tool call: some providers give none, or give the same ones again."""

from collections.abc import Iterable
from uuid import uuid4

from agents.items import TResponseStreamEvent
from openai.types.responses import (
    ResponseCompletedEvent,
    ResponseFunctionToolCall,
    ResponseOutputItem,
    ResponseOutputItemAddedEvent,
    ResponseOutputItemDoneEvent,
)


class CallIds:
    """The ids of one answer's calls; none that was taken before it is given again."""

    def __init__(self, taken: Iterable[str]) -> None:
        self._taken = {"", *taken}
        self._assigned: dict[int, str] = {}

    def ensure(self, event: TResponseStreamEvent) -> None:
        """Assign an id to every call in an event that has none of its own."""
        if isinstance(event, ResponseOutputItemAddedEvent | ResponseOutputItemDoneEvent):
            self._ensure_item(event.output_index, event.item)
        elif isinstance(event, ResponseCompletedEvent):
            for place, item in enumerate(event.response.output):
                self._ensure_item(place, item)

    def _ensure_item(self, place: int, item: ResponseOutputItem) -> None:
        if isinstance(item, ResponseFunctionToolCall):
            if place not in self._assigned:
                call_id = getattr(item, "call_id", None) or ""
                self._assigned[place] = f"call_{uuid4().hex}" if call_id in self._taken else call_id
                self._taken.add(self._assigned[place])
            item.call_id = self._assigned[place]
