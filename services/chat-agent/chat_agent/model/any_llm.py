"""Models of other providers by any-llm, an optional dependency: best effort, at four times the CPU time.

It reads keys and addresses from its own variables, such as `MISTRAL_API_KEY`
(https://docs.mozilla.ai/any-llm/providers). It is imported when the first of its models is built.
"""

import os
from collections.abc import AsyncIterator
from importlib import import_module
from typing import Any

from agents import Model, ModelResponse
from agents.items import TResponseStreamEvent
from servicekit.errors import ServiceError

from chat_agent import errors
from chat_agent.settings import ANY_LLM

PREFIX = f"{ANY_LLM}/"
# What its errors stand for, by their names; subclasses have names of their own.
FAILURES: dict[str, type[ServiceError]] = {
    "RateLimitError": errors.ModelRateLimited,
    "AuthenticationError": errors.ModelAuthenticationFailed,
    "MissingApiKeyError": errors.ModelAuthenticationFailed,
    "InsufficientFundsError": errors.ModelAuthenticationFailed,
    "UpstreamProviderError": errors.ModelUnavailable,
    "GatewayTimeoutError": errors.ModelTimedOut,
}


def build_model(name: str) -> "AnyLlmModel":
    """Return the model of a provider (`mistral/mistral-small-latest`)."""
    # Else its errors are those of each provider's own client.
    os.environ.setdefault("ANY_LLM_UNIFIED_EXCEPTIONS", "1")
    library = import_module("agents.extensions.models.any_llm_model")
    return AnyLlmModel(library.AnyLLMModel(name))


class AnyLlmModel(Model):
    """A model whose errors have our names."""

    def __init__(self, model: Model) -> None:
        self._model = model

    async def close(self) -> None:
        """Close the connections."""
        await self._model.close()

    async def get_response(self, *arguments: Any, **options: Any) -> ModelResponse:
        """Return a whole answer; raises a ServiceError."""
        try:
            return await self._model.get_response(*arguments, **options)
        except Exception as error:
            raise_named(error)
            raise

    async def stream_response(self, *arguments: Any, **options: Any) -> AsyncIterator[TResponseStreamEvent]:
        """Return an answer as it comes; raises a ServiceError."""
        try:
            async for event in self._model.stream_response(*arguments, **options):
                yield event
        except Exception as error:
            raise_named(error)
            raise


def raise_named(error: Exception) -> None:
    """Raise what an error of any-llm stands for; nothing for errors of others, which have names already."""
    library = import_module("any_llm.exceptions")
    if isinstance(error, library.AnyLLMError):
        raise FAILURES.get(type(error).__name__, errors.ModelRefusedRequest)() from error
