"""The events of a run, to its end, over as many connections as that takes."""

import random
from asyncio import sleep
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager

import httpx

from acme_client.errors import ApiError
from acme_client.events import RunEvent
from acme_client.sse import read_events

LONGEST_PAUSE_SECONDS = 10
# In a row, without an event between them: about a minute.
MAX_FAILURES = 12
NO_MORE_EVENTS = 204
ENDED = frozenset({"run.completed", "run.failed", "run.cancelled"})

Connection = AbstractAsyncContextManager[httpx.Response]


async def read_run(
    start: Callable[[], Connection],
    resume: Callable[[str, int], Connection],
    run_id: str = "",
    after: int = 0,
) -> AsyncGenerator[RunEvent, None]:
    """Yield the events of a run to the last one; where the stream breaks off, resume it after the newest."""
    failures = 0
    while True:
        try:
            async with resume(run_id, after) if run_id else start() as response:
                if response.status_code == NO_MORE_EVENTS:
                    return
                is_waiting = False
                async for event in read_events(response.aiter_bytes()):
                    failures = 0
                    run_id = event["run_id"]
                    if event["type"] != "run.queued":
                        after = event["seq"]
                    is_waiting = event["type"] == "run.waiting"
                    yield event
                    if event["type"] in ENDED:
                        return
            if is_waiting:
                # A run that is read from its beginning may have waited, and gone on.
                return
            raise httpx.RemoteProtocolError("The stream ended before its last event.")
        except (ApiError, httpx.TransportError) as error:
            failures += 1
            if failures > MAX_FAILURES or not is_transient(error):
                raise
            pause = pause_after(error, failures)
        await sleep(pause)


def is_transient(error: ApiError | httpx.TransportError) -> bool:
    """Return whether another attempt may succeed."""
    return not isinstance(error, ApiError) or error.is_transient


def pause_after(error: ApiError | httpx.TransportError, failures: int) -> float:
    """Return how many seconds to wait: what the server says, or longer each time, and not all at once."""
    if isinstance(error, ApiError) and error.retry_after:
        return error.retry_after
    return random.uniform(0, min(LONGEST_PAUSE_SECONDS, 0.25 * 2**failures))  # noqa: S311  # it is no secret
