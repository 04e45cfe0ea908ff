"""What the operator sees of a start: a table that fills on a terminal, plain lines elsewhere."""

from contextlib import AbstractContextManager
from threading import Lock
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from starter_cli.startup import Progress


def display_for(console: Console) -> "LineDisplay | TableDisplay":
    """Choose how to show a start; it is entered for that time, and notified of what happens later, too."""
    return TableDisplay(console) if console.is_terminal else LineDisplay(console)


def print_line(console: Console, sentence: str, style: str = "none") -> None:
    """Print text as it is, however long."""
    console.print(sentence, style=style, highlight=False, markup=False, soft_wrap=True)


class LineDisplay(AbstractContextManager["LineDisplay"]):
    """One line for each component that is ready, as it gets ready."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def __call__(self, progress: Progress) -> None:
        """Print what happened, as far as it is worth a line."""
        if progress.message:
            print_line(self._console, progress.message)
        elif progress.seconds is not None:
            print_line(
                self._console, f"{progress.component:<16} {progress.address:<34} {progress.seconds:5.1f} s"
            )

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass


class TableDisplay(AbstractContextManager["TableDisplay"]):
    """A table with a row for each component that has begun."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._lock = Lock()
        self._rows: dict[str, Progress] = {}
        self._live = Live(get_renderable=self.table, console=console, refresh_per_second=8)

    def __call__(self, progress: Progress) -> None:
        """Note what happened."""
        if progress.message:
            print_line(self._console, progress.message, "yellow")
        else:
            with self._lock:
                self._rows[progress.component] = progress

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def table(self) -> Table:
        """Draw the table as it is now."""
        table = Table("component", "address", "ready after", box=None, pad_edge=False, header_style="dim")
        with self._lock:
            for row in self._rows.values():
                table.add_row(Text(row.component, style="bold"), Text(row.address), render_state(row))
        return table


def render_state(row: Progress) -> Text | Spinner:
    """Draw how far a component is."""
    if row.seconds is None:
        return Spinner("dots", style="cyan")
    return Text(f"✓ {row.seconds:.1f} s", style="green")
