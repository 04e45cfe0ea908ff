"""Calls of a provider that are passed on as they are: embeddings, completions, moderations."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from itertools import count
from typing import TypeVar

from servicekit.errors import ServiceError

from chat_agent.errors import ModelTimedOut, ModelUnavailable
from chat_agent.model import failure_log, failures
from chat_agent.model.fast_client import FastClient
from chat_agent.model.json import Json
from chat_agent.model.retry import should_retry
from chat_agent.settings import Settings

Answer = TypeVar("Answer")


class EndOfStream(Exception):
    """There are no more events."""


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
        return await self._start(lambda attempt: self._client.post(path, body, attempt), body["model"])

    async def stream(self, path: str, body: Json) -> AsyncGenerator[Json, None]:
        """Yield the events of an answer; raises the failure of the last attempt, or of the stream."""

        async def open_stream(attempt: int) -> tuple[Json, AsyncGenerator[Json, None]]:
            events = self._client.stream(path, body, attempt)
            return await next_event(events), events

        event, events = await self._start(open_stream, body["model"])
        async with aclosing(events):
            try:
                while True:
                    yield event
                    async with asyncio.timeout(self._settings.model_between_tokens_timeout_seconds):
                        event = await next_event(events)
            except EndOfStream:
                return
            except Exception as error:  # whatever it is, it gets a name
                raise self._failure(error, body["model"], 0, has_begun=True) from error

    async def _start(self, begin: Callable[[int], Awaitable[Answer]], model: str) -> Answer:
        """Return what an attempt gives in time; raises the failure of the last."""
        for attempt in count():  # until the last attempt fails
            try:
                async with asyncio.timeout(self._settings.model_first_token_timeout_seconds):
                    return await begin(attempt)
            except Exception as error:  # whatever it is, it gets a name
                failure = self._failure(error, model, attempt)
            if attempt >= self._settings.model_max_retries or not await should_retry(failure, attempt):
                raise failure
        raise AssertionError

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


async def next_event(events: AsyncIterator[Json]) -> Json:
    """Return the next event; raises EndOfStream."""
    try:
        return await anext(events)
    except StopAsyncIteration as error:
        raise EndOfStream from error
