"""Server-sent events as a response."""

from collections.abc import AsyncIterator, Callable, Mapping

from fastapi.responses import StreamingResponse
from servicekit.rate_limits import SlotLease
from starlette.types import Receive

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
        on_disconnect: Callable[[], None] | None = None,
    ) -> None:
        super().__init__(self._send_frames(frames, slot), headers={**UNBUFFERED, **headers})
        self._on_disconnect = on_disconnect
        self._has_ended = False

    async def listen_for_disconnect(self, receive: Receive) -> None:
        """Wait until the client disconnects; before the end, that has its consequence."""
        await super().listen_for_disconnect(receive)
        if self._on_disconnect is not None and not self._has_ended:
            self._on_disconnect()

    async def _send_frames(self, frames: AsyncIterator[bytes], slot: SlotLease) -> AsyncIterator[bytes]:
        async with slot:
            async for frame in frames:
                yield frame
            # Before anything is awaited: who disconnects now has read all of it.
            self._has_ended = True
