"""A client for the SDK's models that costs a seventh of the vendor's; it fails by the vendor's exceptions."""

from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, aclosing
from types import SimpleNamespace
from typing import Any

import aiohttp
import openai
from openai.types.chat import ChatCompletion
from openai.types.responses import Response
from pydantic import BaseModel

from chat_agent.model.fast_events import ChatChunks, ResponseEvents
from chat_agent.model.json import InvalidModelResponse, Json, encode, parse, storable_object
from chat_agent.model.reasoning import seal_event, unseal_items
from chat_agent.model.request import ATTEMPT
from chat_agent.model.sse import read_events
from chat_agent.model.transport import Connections, Transport, request_of
from chat_agent.model.usage import METER
from chat_agent.settings import OtherProvider

# Embeddings of two thousand texts have 80 MiB.
MAX_WHOLE = 128 * 1024 * 1024
# Not part of what is posted.
ASIDE = ("extra_headers", "extra_query", "extra_body", "timeout")


class FastClient:
    """What the SDK's models need of a client: its base URL, and `create` of both APIs."""

    def __init__(
        self,
        base_url: str,
        api_key: str,
        connect_seconds: float,
        connections: Connections | None = None,
        *,
        provider: OtherProvider | None = None,
    ) -> None:
        # Whose reasoning is marked, so that no other is sent it.
        self._provider = provider
        headers = {"Authorization": f"Bearer {api_key}"}
        self._transport = Transport(base_url, headers, connect_seconds, connections=connections)
        self.base_url = self._transport.base_url
        self.chat = SimpleNamespace(completions=SimpleNamespace(create=self._complete_chat))
        self.responses = SimpleNamespace(create=self._respond)

    async def close(self) -> None:
        """Close the connections."""
        await self._transport.close()

    async def post(self, path: str, body: Json, attempt: int) -> Json:
        """Return the whole answer of any route."""
        return await self._whole(path, {**body, "extra_headers": {ATTEMPT: str(attempt)}})

    def stream(self, path: str, body: Json, attempt: int) -> AsyncGenerator[Json, None]:
        """Yield the events of an answer of any route."""
        return self._stream(path, {**body, "extra_headers": {ATTEMPT: str(attempt)}}, storable_object)

    async def _complete_chat(self, **arguments: Any) -> Any:
        if arguments.get("stream") is True:
            return self._stream("chat/completions", arguments, ChatChunks().shape)
        return ChatCompletion.model_construct(**await self._whole("chat/completions", arguments))

    async def _respond(self, **arguments: Any) -> Any:
        if arguments.get("stream") is True:
            return self._stream_response(arguments)
        return Response.model_construct(**await self._whole("responses", arguments))

    def _stream_response(self, arguments: Json) -> AsyncGenerator[Any, None]:
        shape, provider = ResponseEvents().shape, self._provider
        if provider is None:
            return self._stream("responses", arguments, shape)
        arguments = {**arguments, "input": unseal_items(arguments["input"])}
        return self._stream("responses", arguments, lambda event: shape(seal_event(event, provider)))

    async def _stream(
        self, path: str, arguments: Json, shape: Callable[[Json], Any]
    ) -> AsyncGenerator[Any, None]:
        async with (
            self._post(path, arguments) as answer,
            aclosing(read_events(answer.content.iter_any())) as events,
        ):
            async for event in events:
                if error := event.get("error"):
                    raise openai.APIError("the stream reported an error", request_of(answer), body=error)
                if is_truncated(event) and (meter := METER.get()) is not None:
                    meter.is_truncated = True  # the SDK drops why an answer has ended
                if (shaped := shape(event)) is not None:
                    yield shaped

    async def _whole(self, path: str, arguments: Json) -> Json:
        async with self._post(path, arguments) as answer:
            return parse(await read_whole(answer))

    def _post(self, path: str, arguments: Json) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        body = encode(body_of(arguments), default=to_json)
        headers = arguments.get("extra_headers") or {}
        return self._transport.post(path, body, headers, arguments.get("extra_query"))


async def read_whole(answer: aiohttp.ClientResponse) -> bytes:
    """Return a body; raises InvalidModelResponse for one that is longer than any answer."""
    parts: list[bytes] = []
    size = 0
    async for part in answer.content.iter_any():
        size += len(part)
        if size > MAX_WHOLE:
            raise InvalidModelResponse("an answer without an end")
        parts.append(part)
    return b"".join(parts)


def is_truncated(event: Json) -> bool:
    """Return whether a chunk of Chat Completions ends the answer at a limit of tokens."""
    choices = event.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else None
    return isinstance(first, dict) and first.get("finish_reason") == "length"


def body_of(arguments: Json) -> Json:
    """Return what is posted: all that was not left out."""
    body = {
        name: value
        for name, value in arguments.items()
        if name not in ASIDE and not isinstance(value, openai.Omit)
    }
    return {**body, **(arguments.get("extra_body") or {})}


def to_json(value: Any) -> Any:
    """Write one of the vendor's objects as JSON, as the vendor's client does."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", by_alias=True, exclude_unset=True)
    raise TypeError(f"{type(value).__name__} is not JSON")
