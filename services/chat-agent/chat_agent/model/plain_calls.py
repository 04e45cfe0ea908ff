"""Calls of a provider that are passed on as they are: embeddings, completions, moderations."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractContextManager, aclosing, closing
from typing import TypeVar

from chat_agent.errors import ModelUnavailable
from chat_agent.model import failure_log
from chat_agent.model.fast_client import FastClient
from chat_agent.model.json import Json
from chat_agent.model.own_clients import OwnClients
from chat_agent.model.retry import retry_transient
from chat_agent.model.wait_limit import WaitLimit
from chat_agent.settings import Settings

Answer = TypeVar("Answer")


class PlainCalls:
    """Sends requests to the provider, again where that may help."""

    def __init__(self, settings: Settings, own_clients: OwnClients) -> None:
        self._settings = settings
        self._own_clients = own_clients
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
        client = self._own_clients.main() or self._client
        return await self._start(lambda attempt: client.post(path, body, attempt), body["model"])

    async def stream(self, path: str, body: Json) -> AsyncGenerator[Json, None]:
        """Yield the events of an answer; raises the failure of the last attempt, or of the stream."""
        client = self._own_clients.main() or self._client

        async def open_stream(attempt: int) -> tuple[Json, AsyncGenerator[Json, None]]:
            events = client.stream(path, body, attempt)
            event = await anext(events, None)
            if event is None:
                raise ModelUnavailable
            return event, events

        first, events = await self._start(open_stream, body["model"])
        event: Json | None = first
        limit = WaitLimit(self._settings.model_between_tokens_timeout_seconds)
        async with aclosing(events):
            with closing(limit), self._named_failures(body["model"], 0, has_begun=True):
                while event is not None:
                    yield event
                    with limit:
                        event = await anext(events, None)

    async def _start(self, begin: Callable[[int], Awaitable[Answer]], model: str) -> Answer:
        """Return what an attempt returns in time; raises the failure of the last."""

        async def begin_in_time(attempt: int) -> Answer:
            with self._named_failures(model, attempt, has_begun=False):
                async with asyncio.timeout(self._settings.model_first_token_timeout_seconds):
                    return await begin(attempt)

        return await retry_transient(begin_in_time, self._settings.model_max_retries)

    def _named_failures(self, model: str, attempt: int, *, has_begun: bool) -> AbstractContextManager[None]:
        own_client = self._own_clients.main()
        return failure_log.named_failures(
            model=model,
            host=(own_client or self._client).base_url.host,
            attempt=attempt,
            has_begun=has_begun,
            is_own_key=own_client is not None,
        )
