"""How a command ends that cannot do its work: one sentence, the end of the log, exit code 1."""

from collections.abc import Iterator
from contextlib import contextmanager

import typer
from rich.console import Console

from starter_cli import disk
from starter_cli.errors import Failure
from starter_cli.progress import print_line


@contextmanager
def exit_on_failure(console: Console) -> Iterator[None]:
    """Turn a failure into a sentence and exit code 1."""
    try:
        yield
    except (Failure, OSError) as error:
        print_failure(console, error if isinstance(error, Failure) else from_os_error(error))
        raise typer.Exit(1) from None


def from_os_error(error: OSError) -> Failure:
    """Turn an error of the system into a failure; a full disk is named."""
    reason = f"{error.filename}: {error.strerror}" if error.filename and error.strerror else str(error)
    return Failure("disk" if error.errno in disk.DISK_FULL_ERRORS else "Acme", reason)


def print_failure(console: Console, failure: Failure) -> None:
    """Print what went wrong, the end of the log that explains it, and where that is."""
    print_line(console, f"✗ {failure.component}: {failure.reason}", "bold red")
    for line in failure.last_lines:
        print_line(console, f"  {line}", "dim")
    if failure.log:
        print_line(console, f"The whole log: {failure.log}")
