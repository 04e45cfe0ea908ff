"""How long a model may take."""

import asyncio
from types import TracebackType

from chat_agent.errors import ModelTimedOut


class TimeLimit:
    """Limits the seconds that a model takes; raises ModelTimedOut.

    It is entered for every token, and a generator as context manager would cost as much as the token.
    """

    def __init__(self, seconds: float) -> None:
        self._timeout = asyncio.timeout(seconds)

    async def __aenter__(self) -> None:
        await self._timeout.__aenter__()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            await self._timeout.__aexit__(kind, error, traceback)
        except TimeoutError as timeout:
            raise ModelTimedOut from timeout
        if isinstance(error, TimeoutError):
            raise ModelTimedOut from error
