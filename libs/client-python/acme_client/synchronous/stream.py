# Written from acme_client/stream.py by scripts/synchronous_client.py: change it there.
"""The events of a run, to its end, over as many connections as that takes."""

import random
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager
from time import sleep

import httpx

from acme_client.errors import ApiError
from acme_client.events import RunEvent
from acme_client.synchronous.sse import read_events

LONGEST_PAUSE_SECONDS = 10
# In a row, without an event between them: about a minute.
MAX_FAILURES = 12
NO_MORE_EVENTS = 204
ENDED = frozenset({"run.completed", "run.failed", "run.cancelled"})

Connection = AbstractContextManager[httpx.Response]


def read_run(
    start: Callable[[], Connection],
    resume: Callable[[str, int], Connection],
    run_id: str = "",
    after: int = 0,
) -> Generator[RunEvent, None, None]:
    """Yield the events of a run to the last one; where the stream breaks off, resume it after the newest."""
    failures = 0
    while True:
        try:
            with resume(run_id, after) if run_id else start() as response:
                if response.status_code == NO_MORE_EVENTS:
                    return
                is_waiting = False
                for event in read_events(response.iter_bytes()):
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
        sleep(pause)


def is_transient(error: ApiError | httpx.TransportError) -> bool:
    """Return whether another attempt may succeed."""
    return not isinstance(error, ApiError) or error.is_transient


def pause_after(error: ApiError | httpx.TransportError, failures: int) -> float:
    """Return how many seconds to wait: what the server says, or longer each time, and not all at once."""
    if isinstance(error, ApiError) and error.retry_after:
        return error.retry_after
    return random.uniform(0, min(LONGEST_PAUSE_SECONDS, 0.25 * 2**failures))  # noqa: S311  # it is no secret
