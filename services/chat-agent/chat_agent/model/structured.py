"""A model whose provider takes no schema of an answer: it is told the schema, and asked once to repair."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any, cast

import orjson
from agents import TResponseInputItem
from agents.agent_output import AgentOutputSchemaBase
from agents.items import TResponseStreamEvent
from openai.types.responses import ResponseCompletedEvent, ResponseOutputMessage

from chat_agent.model.output_schema import INSTRUCTIONS, REPAIR, RequestedOutput
from chat_agent.model.request import ModelRequest
from chat_agent.model.retry import ResilientModel
from chat_agent.model.streamed import StreamedModel
from chat_agent.model.usage import METER


class StructuredModel(StreamedModel):
    """Answers with valid JSON where a schema is required; nothing of an invalid answer is passed on."""

    def __init__(self, model: ResilientModel) -> None:
        self._model = model

    async def stream_response(self, *args: Any, **kwargs: Any) -> AsyncGenerator[TResponseStreamEvent, None]:
        """Return the answer as it comes, or at once when it is complete and a schema is required."""
        request = ModelRequest(*args, **kwargs)
        schema = request.output_schema
        if schema is None or schema.is_plain_text():
            async with aclosing(self._model.stream(request)) as events:
                async for event in events:
                    yield event
            return
        for event in await self._valid_answer(with_schema(request, schema), schema):
            yield event

    async def _valid_answer(
        self, request: ModelRequest, schema: AgentOutputSchemaBase
    ) -> Sequence[TResponseStreamEvent]:
        """Return the events of an answer, after one repair; the SDK validates the second answer."""
        events = [event async for event in self._model.stream(request)]
        text = final_text(events)
        meter = METER.get()
        if text is None or not isinstance(schema, RequestedOutput) or (meter and meter.is_truncated):
            return events
        problem = schema.problem_of(text)
        if problem is None:
            return events
        return [event async for event in self._model.stream(with_repair(request, text, problem))]


def with_schema(request: ModelRequest, schema: AgentOutputSchemaBase) -> ModelRequest:
    """Return a request that tells the model the schema in its instructions."""
    instructions = INSTRUCTIONS.format(schema=orjson.dumps(schema.json_schema()).decode())
    return replace(
        request, system_instructions=(request.system_instructions or "") + instructions, output_schema=None
    )


def with_repair(request: ModelRequest, text: str, problem: str) -> ModelRequest:
    """Return a request that tells the model what was wrong with its answer."""
    input_: list[Any] = (
        [{"role": "user", "content": request.input}] if isinstance(request.input, str) else [*request.input]
    )
    input_ += [
        {"role": "assistant", "content": text},
        {"role": "user", "content": REPAIR.format(problem=problem)},
    ]
    return replace(request, input=cast("list[TResponseInputItem]", input_))


def final_text(events: Sequence[TResponseStreamEvent]) -> str | None:
    """Return the text of an answer; none where it calls tools or is a refusal."""
    last = events[-1] if events else None
    output = last.response.output if isinstance(last, ResponseCompletedEvent) else []
    if any(item.type == "function_call" for item in output):
        return None
    parts = [part for item in output if isinstance(item, ResponseOutputMessage) for part in item.content]
    if any(part.type == "refusal" for part in parts):
        return None
    return "".join(getattr(part, "text", "") for part in parts)
