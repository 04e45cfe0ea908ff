"""Server-sent events as a response."""

from collections.abc import AsyncIterator, Mapping

from fastapi.responses import StreamingResponse
from servicekit.rate_limits import SlotLease

# X-Accel-Buffering: proxies that are not ours should pass every event on at once, too.
UNBUFFERED = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


def event_stream(
    frames: AsyncIterator[bytes], slot: SlotLease, headers: Mapping[str, str]
) -> StreamingResponse:
    """Stream events; the slot is held while the stream is open, and then released."""

    async def stream() -> AsyncIterator[bytes]:
        async with slot:
            async for frame in frames:
                yield frame

    return StreamingResponse(stream(), media_type="text/event-stream", headers={**UNBUFFERED, **headers})
