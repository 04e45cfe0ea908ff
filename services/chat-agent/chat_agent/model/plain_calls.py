"""Calls of a provider that are passed on as they are: embeddings, completions, moderations."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing

from servicekit.errors import ServiceError

from chat_agent.errors import ModelTimedOut, ModelUnavailable
from chat_agent.model import failure_log, failures
from chat_agent.model.fast_client import FastClient
from chat_agent.model.json import Json
from chat_agent.model.retry import should_retry
from chat_agent.settings import Settings


class PlainCalls:
    """Sends requests to the provider, again where that may help."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._client = FastClient(
            settings.openai_base_url,
            settings.openai_api_key.get_secret_value(),
            settings.model_connect_timeout_seconds,
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    async def send(self, path: str, body: Json) -> Json:
        """Return the whole answer; raises the failure of the last attempt."""
        for attempt in range(self._settings.model_max_retries + 1):
            try:
                async with asyncio.timeout(self._settings.model_first_token_timeout_seconds):
                    return await self._client.post(path, body, attempt)
            except Exception as error:  # whatever it is, it gets a name
                failure = self._failure(error, str(body["model"]), attempt)
            if attempt == self._settings.model_max_retries or not await should_retry(failure, attempt):
                break
        raise failure

    async def stream(self, path: str, body: Json) -> AsyncGenerator[Json, None]:
        """Yield the events of an answer, of which the first is awaited; raises the failure."""
        for attempt in range(self._settings.model_max_retries + 1):
            events = self._client.stream(path, body, attempt)
            try:
                first = await self._next(events, self._settings.model_first_token_timeout_seconds)
            except Exception as error:  # whatever it is, it gets a name
                failure = self._failure(error, str(body["model"]), attempt)
            else:
                async with aclosing(self._rest(first, events, str(body["model"]), attempt)) as rest:
                    async for event in rest:
                        yield event
                return
            if attempt == self._settings.model_max_retries or not await should_retry(failure, attempt):
                break
        raise failure

    async def _rest(
        self, first: Json, events: AsyncGenerator[Json, None], model: str, attempt: int
    ) -> AsyncGenerator[Json, None]:
        async with aclosing(events):
            yield first
            try:
                while True:
                    yield await self._next(events, self._settings.model_between_tokens_timeout_seconds)
            except EndOfStream:
                return
            except Exception as error:  # whatever it is, it gets a name
                raise self._failure(error, model, attempt, has_begun=True) from error

    @staticmethod
    async def _next(events: AsyncIterator[Json], seconds: float) -> Json:
        try:
            async with asyncio.timeout(seconds):
                return await anext(events)
        except StopAsyncIteration as error:
            raise EndOfStream from error

    def _failure(
        self, error: Exception, model: str, attempt: int, *, has_begun: bool = False
    ) -> ServiceError:
        """Return the name of a failure, logged and counted."""
        kinds: dict[type[Exception], type[ServiceError]] = {
            TimeoutError: ModelTimedOut,
            EndOfStream: ModelUnavailable,
        }
        failure = kinds[type(error)]() if type(error) in kinds else failures.from_model_error(error)
        failure.__cause__ = error
        host = self._client.base_url.host
        failure_log.model_failed(error, failure, model=model, host=host, attempt=attempt, has_begun=has_begun)
        return failure


class EndOfStream(Exception):
    """There are no more events."""
