"""Waiting, while a run can wait, for what may be just starting again."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

import stamina
from servicekit.errors import is_outage

from chat_agent.errors import ConversationUnavailable

T = TypeVar("T")

# How long Postgres may be away before a run is left to whoever takes it over.
OUTAGE_SECONDS = 60.0


async def retry_unavailable(call: Callable[[], Awaitable[T]], seconds: float) -> T:
    """Ask the conversation service, again for so long; raises ConversationUnavailable after that."""
    return await retry(call, lambda error: isinstance(error, ConversationUnavailable), seconds)


async def retry_database(call: Callable[[], Awaitable[T]]) -> T:
    """Use the database, again and again while it is away; raises when that takes too long."""
    return await retry(call, is_outage, OUTAGE_SECONDS)


async def retry(call: Callable[[], Awaitable[T]], on: Callable[[Exception], bool], seconds: float) -> T:
    """Call again, with growing pauses, for as long as that may help."""
    async for attempt in stamina.retry_context(
        on=on, attempts=None, timeout=seconds, wait_initial=0.1, wait_max=2
    ):
        with attempt:
            return await call()
    raise AssertionError  # pragma: no cover - the loop above returns or raises
