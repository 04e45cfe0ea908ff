"""What is shown while it works: one line that changes, and a line for each thing that happens."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from rich.console import Console
from starter_cli import progress as terminal_output
from starter_cli.startup import Progress

REFRESH_SECONDS = 0.5
# Where there is no terminal, and every look is a line of its own.
LINE_SECONDS = 10


class ProgressLog:
    """Prints how far it is."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._began = time.monotonic()

    def print_line(self, sentence: str) -> None:
        """Print a line with the time."""
        terminal_output.print_line(self.console, f"{time.monotonic() - self._began:6.1f} s  {sentence}")

    def on_progress(self, progress: Progress) -> None:
        """Print what a supervisor says; how parts start is not of interest."""
        if progress.message:
            self.print_line(progress.message)

    @asynccontextmanager
    async def line(self, describe: Callable[[], str]) -> AsyncIterator[None]:
        """Display a line that is described anew again and again."""
        with self.console.status(describe()) as status:
            terminal = self.console.is_terminal
            show = status.update if terminal else self.print_line
            seconds = REFRESH_SECONDS if terminal else LINE_SECONDS
            task = asyncio.create_task(call_repeatedly(lambda: show(describe()), seconds))
            try:
                yield
            finally:
                task.cancel()


async def call_repeatedly(show: Callable[[], None], seconds: float) -> None:
    """Call a function again and again."""
    while True:
        await asyncio.sleep(seconds)
        show()
