"""What can go wrong at a start, in a sentence for the operator."""

from pathlib import Path

TAIL_LINES = 8
TAIL_BYTES = 16_384


class Failure(Exception):
    """One component cannot do its work: which, why, and the log that tells more, with its last lines."""

    def __init__(self, component: str, reason: str, log: Path | None = None) -> None:
        self.component, self.reason, self.log = component, reason, log
        self.last_lines = tail(log) if log and log.is_file() else []
        super().__init__("\n".join([f"{component}: {reason}", *self.last_lines]))


class Cancelled(Failure):
    """A component was not waited for any longer, because another one failed or the operator gave up."""

    def __init__(self, component: str) -> None:
        super().__init__(component, "the start was given up")


def tail(log: Path) -> list[str]:
    """Read the last lines of a log."""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - TAIL_BYTES))
        return file.read().decode(errors="replace").splitlines()[-TAIL_LINES:]
