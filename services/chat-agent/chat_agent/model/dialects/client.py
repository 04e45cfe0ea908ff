"""A client for the SDK's Responses model that speaks another protocol."""

from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, Protocol

from chat_agent.model.dialects.requests import request_of
from chat_agent.model.fast_client import to_json
from chat_agent.model.fast_events import ResponseEvents
from chat_agent.model.json import Json, encode
from chat_agent.model.sse import read_events
from chat_agent.model.transport import ErrorBody, Transport, status_error
from chat_agent.model.transport import request_of as http_request_of

# How often a model may be sent its own turn back to go on.
MAX_PAUSES = 10


class Reader(Protocol):
    """Reads the events of a provider's stream as those of Responses."""

    @property
    def is_paused(self) -> bool:
        """Whether the model waits to be sent its turn back."""
        ...

    def read(self, event: Json) -> Iterator[Json]:
        """Yield what an event stands for."""
        ...

    def finish(self) -> Iterator[Json]:
        """Yield the last events."""
        ...

    def items(self) -> list[Json]:
        """Return what was said so far, as items of Responses."""
        ...


@dataclass(frozen=True)
class Dialect:
    """How a provider is spoken to."""

    path: Callable[[Json], str]
    body: Callable[[Json], Json]
    reader: Callable[[Json], Reader]
    # The status and the error that an event within a stream reports.
    error: Callable[[Json], tuple[int, ErrorBody] | None]
    # The types of the events that end a stream, and whether another is the last that has to come.
    terminal: frozenset[str]
    is_last: Callable[[Json], bool]


class DialectClient:
    """What the SDK's Responses model needs of a client: `responses.create`, which always streams."""

    def __init__(self, transport: Transport, dialect: Dialect) -> None:
        self.base_url = transport.base_url
        self.responses = SimpleNamespace(create=self._respond)
        self._transport = transport
        self._dialect = dialect

    async def close(self) -> None:
        """Close the connections."""
        await self._transport.close()

    async def _respond(self, **arguments: Any) -> AsyncGenerator[Any, None]:
        return self._stream(request_of(arguments))

    async def _stream(self, request: Json) -> AsyncGenerator[Any, None]:
        reader, shape = self._dialect.reader(request), ResponseEvents().shape
        for _ in range(MAX_PAUSES):
            async with aclosing(self._events(request)) as events:
                async for event in events:
                    for translated in reader.read(event):
                        yield shape(translated)
            if not reader.is_paused:
                break
            request = {**request, "input": [*request["input"], *reader.items()]}
        for translated in reader.finish():
            yield shape(translated)

    async def _events(self, request: Json) -> AsyncGenerator[Json, None]:
        dialect = self._dialect
        body = {**dialect.body(request), **(request.get("extra_body") or {})}
        async with (
            self._transport.post(
                dialect.path(request),
                encode(body, default=to_json),
                request.get("extra_headers") or {},
                request.get("extra_query"),
            ) as answer,
            aclosing(read_events(answer.content.iter_any(), dialect.terminal, dialect.is_last)) as events,
        ):
            async for event in events:
                if (error := dialect.error(event)) is not None:
                    raise status_error(http_request_of(answer), error[0], {}, error[1])
                yield event
