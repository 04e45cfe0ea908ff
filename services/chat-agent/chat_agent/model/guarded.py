"""A model whose requests and answers pass guardrails before the model or anybody else reads them."""

from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing
from dataclasses import fields, replace
from typing import Any

from agents import Model
from agents.items import TResponseStreamEvent
from openai.types.responses import ResponseCompletedEvent

from chat_agent.event_log.recovery import HANDOFF
from chat_agent.guardrails.checks import Check, checks_of
from chat_agent.guardrails.config import GuardrailConfig
from chat_agent.guardrails.messages import MESSAGE, MessageGuard, newest_message, turns_of
from chat_agent.guardrails.text_filter import TextFilter, about_request, filtered, filtered_arguments
from chat_agent.items import called_tools
from chat_agent.model.caller_texts import CALLER, foreign_outputs, texts_of_caller
from chat_agent.model.judge import IS_JUDGING, Judges
from chat_agent.model.request import ModelRequest
from chat_agent.model.streamed import StreamedModel

DELTAS = frozenset(
    {
        "response.output_text.delta",
        "response.refusal.delta",
        "response.reasoning_summary_text.delta",
        "response.reasoning_text.delta",
    }
)
ARGUMENTS = "response.function_call_arguments.delta"
# Where a text belongs.
Place = tuple[int, int, int]


class GuardedModel(StreamedModel):
    """Masks what is to be masked; raises GuardrailTriggered for what ends the run.

    What people write passes the service's patterns before the run begins; an agent's are applied here, so
    that they hold for what is handed over to it, too.
    """

    def __init__(self, model: Model, config: GuardrailConfig, judges: Judges, *, is_agents: bool) -> None:
        self._model = model
        self._output_checks, self._tool_checks = checks_of(config.output), checks_of(config.tool)
        self._judges = judges
        self._is_agents = is_agents
        self._newest = MessageGuard(config)
        self._earlier = MessageGuard(config, masks_only=True)

    async def stream_response(self, *args: Any, **kwargs: Any) -> AsyncGenerator[TResponseStreamEvent, None]:
        """Return the answer as it comes, but for the end of a text that may belong to a match.

        Where a model judges answers, the answer comes when it is judged.
        """
        request = ModelRequest(*args, **kwargs)
        if IS_JUDGING.get():
            async with aclosing(self._send(request)) as events:
                async for event in events:
                    yield event
            return
        request = await self._checked(request)
        async with aclosing(self._filtered(request)) as events:
            if not {"output", "tool"} & self._judges.checks.keys():
                async for event in events:
                    yield event
                return
            buffered = [event async for event in events]
        await self._judge_answer(buffered, request)
        for event in buffered:
            yield event

    def _send(self, request: ModelRequest) -> AsyncGenerator[TResponseStreamEvent, None]:
        arguments = {one.name: getattr(request, one.name) for one in fields(request)}
        events: AsyncGenerator[TResponseStreamEvent, None]
        events = self._model.stream_response(**arguments)  # type: ignore[assignment]  # of a StreamedModel
        return events

    async def _filtered(self, request: ModelRequest) -> AsyncGenerator[TResponseStreamEvent, None]:
        guard = AnswerGuard(self._output_checks, self._tool_checks)
        async with aclosing(self._send(request)) as events:
            async for event in events:
                for passed in guard.pass_on(event):
                    if isinstance(passed, ResponseCompletedEvent):
                        await self._judges.remember_answer(answer_of(passed.response.output))
                    yield passed

    async def _checked(self, request: ModelRequest) -> ModelRequest:
        """Return a request that may be sent; raises GuardrailTriggered, GuardrailUnavailable."""
        items = items_of(request)
        newest = newest_message(items)
        is_first = self._is_first_call(items)
        if not self._newest.is_empty:
            items = await self._masked(items, newest)
            request = replace(request, input=items)
        if self._is_agents and is_first:
            for text in CALLER.get().texts:
                await self._newest.text(text)
        written, turns = texts_of_caller(items), turns_of(items[:newest])
        for stage in MESSAGE:
            await self._judges.check_messages(stage, written, turns, is_new=is_first)
        outputs = foreign_outputs(request, items)
        with about_request():
            await self._judges.check_outputs(outputs.of_caller, turns_of(items))
        await self._judges.check_outputs(outputs.of_others, turns_of(items))
        return request

    async def _masked(self, items: Sequence[Any], newest: int) -> list[Any]:
        """Return items with the masks of files; where this is for an agent, with all of its masks.

        Those of the service are in the items since the run began, but not in files, which are stored as sent.
        """
        items = await self._newest.files(items)
        if not self._is_agents:
            return items
        return [*await self._earlier.history(items[:newest]), *await self._newest.history(items[newest:])]

    def _is_first_call(self, items: Sequence[Any]) -> bool:
        """Return whether nothing has been answered to the newest message, or not by this agent."""
        last = items[-1] if items else {}
        if last.get("role") == "user":
            return True
        calls = called_tools(items)
        return self._is_agents and calls.get(str(last.get("call_id")), "").startswith(HANDOFF)

    async def _judge_answer(self, events: Sequence[Any], request: ModelRequest) -> None:
        """Check a whole answer; raises GuardrailTriggered, GuardrailUnavailable."""
        last = events[-1] if events else None
        output = last.response.output if isinstance(last, ResponseCompletedEvent) else []
        turns = turns_of(items_of(request))
        await self._judges.check("output", answer_of(output), turns)
        for item in output:
            if item.type == "function_call" and not item.name.startswith(HANDOFF):
                await self._judges.check("tool", f"{item.name}({item.arguments})", turns)


def answer_of(output: Sequence[Any]) -> str:
    """Return the text of an answer."""
    parts = [part for item in output if item.type == "message" for part in parts_of(item)]
    return "".join(getattr(part, "text", None) or getattr(part, "refusal", None) or "" for part in parts)


def items_of(request: ModelRequest) -> list[Any]:
    """Return what a model is sent, as items."""
    if isinstance(request.input, str):
        return [{"role": "user", "content": request.input}]
    return [*request.input]


class AnswerGuard:
    """Applies checks to the texts of one answer, and to the arguments of its calls."""

    def __init__(self, checks: Sequence[Check], tool_checks: Sequence[Check] = ()) -> None:
        self._checks = checks
        self._tool_checks = tool_checks
        # By place: its filter, and its newest delta.
        self._open: dict[Place, tuple[TextFilter, Any]] = {}

    def pass_on(self, event: Any) -> Iterator[Any]:
        """Return the events to pass on in place of one; raises GuardrailTriggered."""
        if event.type in DELTAS:
            yield from self._delta(event)
            return
        if event.type == ARGUMENTS and self._tool_checks:
            # Whole arguments are checked; they are in the events that follow.
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
        for call in [event, *items] if self._tool_checks else []:
            if isinstance(arguments := getattr(call, "arguments", None), str) and arguments:
                call.arguments = filtered_arguments(arguments, self._tool_checks)


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
