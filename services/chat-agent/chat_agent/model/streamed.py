"""Models whose answers are always streamed."""

from abc import abstractmethod
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from agents import Model, ModelResponse, Usage
from agents.items import TResponseStreamEvent
from openai.types.responses import ResponseCompletedEvent

from chat_agent.errors import ModelFailed


class StreamedModel(Model):
    """A model that streams also an answer that is requested whole, so that it is timed and counted alike."""

    async def get_response(self, *args: Any, **kwargs: Any) -> ModelResponse:
        """Return the whole answer."""
        async with aclosing(self.stream_response(*args, **kwargs)) as events:
            async for event in events:
                if isinstance(event, ResponseCompletedEvent):
                    return to_model_response(event)
        raise ModelFailed

    @abstractmethod
    def stream_response(self, *args: Any, **kwargs: Any) -> AsyncGenerator[TResponseStreamEvent, None]:
        """Return the answer as it comes."""


def to_model_response(event: ResponseCompletedEvent) -> ModelResponse:
    """Build the answer that the SDK wants from the last event of its stream."""
    provider_usage = event.response.usage
    usage = Usage(requests=1)
    if provider_usage is not None:
        usage = Usage(
            requests=1,
            input_tokens=provider_usage.input_tokens or 0,
            output_tokens=provider_usage.output_tokens or 0,
            total_tokens=provider_usage.total_tokens or 0,
            input_tokens_details=provider_usage.input_tokens_details,
            output_tokens_details=provider_usage.output_tokens_details,
        )
    return ModelResponse(output=event.response.output, usage=usage, response_id=event.response.id)
