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

from starter_cli.startup import Happening


def on(console: Console) -> "Lines | Board":
    """Choose how to show a start; it is entered for that time, and told of what happens later, too."""
    return Board(console) if console.is_terminal else Lines(console)


def say(console: Console, sentence: str, style: str = "none") -> None:
    """Print text as it is, however long."""
    console.print(sentence, style=style, highlight=False, markup=False, soft_wrap=True)


class Lines(AbstractContextManager["Lines"]):
    """One line for each part that is ready, as it gets ready."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def __call__(self, happening: Happening) -> None:
        """Print what happened, as far as it is worth a line."""
        if happening.sentence:
            say(self._console, happening.sentence)
        elif happening.seconds is not None:
            say(self._console, f"{happening.part:<16} {happening.address:<34} {happening.seconds:5.1f} s")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass


class Board(AbstractContextManager["Board"]):
    """A table with a row for each part that has begun."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._lock = Lock()
        self._rows: dict[str, Happening] = {}
        self._live = Live(get_renderable=self.table, console=console, refresh_per_second=8)

    def __call__(self, happening: Happening) -> None:
        """Note what happened."""
        if happening.sentence:
            say(self._console, happening.sentence, "yellow")
        else:
            with self._lock:
                self._rows[happening.part] = happening

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def table(self) -> Table:
        """Draw the table as it is now."""
        table = Table("part", "address", "ready after", box=None, pad_edge=False, header_style="dim")
        with self._lock:
            for row in self._rows.values():
                table.add_row(Text(row.part, style="bold"), Text(row.address), mark(row))
        return table


def mark(row: Happening) -> Text | Spinner:
    """Draw how far a part is."""
    if row.seconds is None:
        return Spinner("dots", style="cyan")
    return Text(f"✓ {row.seconds:.1f} s", style="green")
