"""Server-sent events as a response."""

from collections.abc import AsyncIterator, Mapping

from anyio import CancelScope
from fastapi.responses import StreamingResponse
from servicekit.rate_limits import SlotLease
from starlette.requests import ClientDisconnect, Request
from starlette.types import Receive, Scope, Send

from chat_agent.api.disconnects import DisconnectHandler, watched

# X-Accel-Buffering: proxies that are not ours should pass every event on at once, too.
UNBUFFERED = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


class EventStream(StreamingResponse):
    """A stream of events; the slot is held while it is open, and then released."""

    media_type = "text/event-stream"

    def __init__(
        self,
        frames: AsyncIterator[bytes],
        slot: SlotLease,
        headers: Mapping[str, str],
        on_disconnect: DisconnectHandler | None = None,
    ) -> None:
        super().__init__(frames, headers={**UNBUFFERED, **headers})
        self._slot = slot
        self._on_disconnect = on_disconnect
        self._connection = CancelScope()
        self._has_ended = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Stream until the end, or until the client disconnects.

        Starlette awaits the server's message about that only where the server's ASGI is older than 2.4.
        """
        with self._connection:
            async with watched(Request(scope, receive), self._disconnect):
                try:
                    await self.stream_response(send)
                except OSError as error:
                    # From ASGI 2.4 on, a server may report it here first.
                    self._disconnect()
                    raise ClientDisconnect from error

    async def stream_response(self, send: Send) -> None:
        """Send the frames; at the end, the slot is free before the client may send its next request."""
        async with self._slot:
            headers = self.raw_headers
            await send({"type": "http.response.start", "status": self.status_code, "headers": headers})
            async for frame in self.body_iterator:
                await send({"type": "http.response.body", "body": frame, "more_body": True})
            # Before anything is awaited: who disconnects now has read all of it.
            self._has_ended = True
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    def _disconnect(self) -> None:
        """Stop; before the end, a disconnect has its consequence."""
        self._connection.cancel()
        if self._on_disconnect is not None and not self._has_ended:
            self._on_disconnect()
