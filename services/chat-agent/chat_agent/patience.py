"""Waiting for the conversation service while a run can wait: it may be just starting again."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

import stamina

from chat_agent.errors import ConversationUnavailable

T = TypeVar("T")


async def patiently(call: Callable[[], Awaitable[T]], seconds: float) -> T:
    """Call again, with growing pauses, for so many seconds; raises ConversationUnavailable after that."""
    async for attempt in stamina.retry_context(
        on=ConversationUnavailable, attempts=None, timeout=seconds, wait_initial=0.2, wait_max=2
    ):
        with attempt:
            return await call()
    raise AssertionError  # pragma: no cover - the loop above returns or raises
