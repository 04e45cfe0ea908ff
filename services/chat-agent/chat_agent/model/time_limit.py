"""How long a model may take."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from chat_agent.errors import ModelTimedOut


@asynccontextmanager
async def time_limit(seconds: float) -> AsyncIterator[None]:
    """Limit the seconds that a model takes; raises ModelTimedOut."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError as error:
        raise ModelTimedOut from error
