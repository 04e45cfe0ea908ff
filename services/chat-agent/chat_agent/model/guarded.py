"""A model whose answers pass the guardrails of output before anybody reads them."""

from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing
from typing import Any

from agents import Model
from agents.items import TResponseStreamEvent

from chat_agent.guardrails.checks import Check
from chat_agent.guardrails.text_filter import TextFilter, filtered
from chat_agent.model.streamed import StreamedModel

DELTAS = frozenset(
    {
        "response.output_text.delta",
        "response.refusal.delta",
        "response.reasoning_summary_text.delta",
        "response.reasoning_text.delta",
    }
)
# Where a text belongs.
Place = tuple[int, int, int]


class GuardedModel(StreamedModel):
    """Masks what is to be masked in an answer; raises GuardrailTriggered for what ends the run."""

    def __init__(self, model: Model, checks: Sequence[Check]) -> None:
        self._model = model
        self._checks = checks

    async def stream_response(self, *args: Any, **kwargs: Any) -> AsyncGenerator[TResponseStreamEvent, None]:
        """Return the answer as it comes, but for the end of a text that may belong to a match."""
        guard = AnswerGuard(self._checks)
        answer: Any = self._model.stream_response(*args, **kwargs)
        async with aclosing(answer) as events:
            async for event in events:
                for passed in guard.pass_on(event):
                    yield passed


class AnswerGuard:
    """Applies checks to the texts of one answer."""

    def __init__(self, checks: Sequence[Check]) -> None:
        self._checks = checks
        # By place: its filter, and its newest delta.
        self._open: dict[Place, tuple[TextFilter, Any]] = {}

    def pass_on(self, event: Any) -> Iterator[Any]:
        """Return the events to pass on in place of one; raises GuardrailTriggered."""
        if event.type in DELTAS:
            yield from self._delta(event)
            return
        if event.type.endswith((".done", ".completed", ".incomplete")):
            yield from self._finish(getattr(event, "output_index", None))
            self._clean(event)
        yield event

    def _delta(self, event: Any) -> Iterator[Any]:
        place = place_of(event)
        text_filter, _ = self._open.get(place) or (TextFilter(self._checks, "output"), None)
        self._open[place] = text_filter, event
        if text := text_filter.feed(event.delta):
            yield with_delta(event, text)

    def _finish(self, output_index: int | None) -> Iterator[Any]:
        """Return the rest of all texts of one item, or of all."""
        for place in [place for place in self._open if output_index in {None, place[0]}]:
            text_filter, event = self._open.pop(place)
            if text := text_filter.finish():
                yield with_delta(event, text)

    def _clean(self, event: Any) -> None:
        """Mask the texts that an event repeats."""
        response = getattr(event, "response", None)
        items = response.output if response is not None else [getattr(event, "item", None)]
        parts = [part for item in items for part in parts_of(item)]
        for part in [event, getattr(event, "part", None), *parts]:
            for name in ("text", "refusal"):
                if isinstance(text := getattr(part, name, None), str):
                    setattr(part, name, filtered(text, self._checks, "output"))
                    without_logprobs(part)


def place_of(event: Any) -> Place:
    """Return where the text of a delta belongs."""
    part = getattr(event, "content_index", None)
    return event.output_index, -1 if part is None else part, getattr(event, "summary_index", None) or 0


def parts_of(item: Any) -> list[Any]:
    """Return the parts of an item that are text."""
    return [*(getattr(item, "content", None) or []), *(getattr(item, "summary", None) or [])]


def with_delta(event: Any, text: str) -> Any:
    """Return a delta with another text."""
    return without_logprobs(event.model_copy(update={"delta": text}))


def without_logprobs(part: Any) -> Any:
    """Return a part without the tokens of its text, which nobody has checked."""
    if getattr(part, "logprobs", None):
        part.logprobs = []
    return part
