"""What can go wrong at a start, in a sentence for the operator."""

from pathlib import Path

LAST_LINES = 8
LAST_BYTES = 16_384


class Failure(Exception):
    """One part cannot do its work: which, why, and the log that tells more, with its last lines."""

    def __init__(self, part: str, reason: str, log: Path | None = None) -> None:
        self.part, self.reason, self.log = part, reason, log
        self.last_lines = end_of(log) if log and log.is_file() else []
        super().__init__("\n".join([f"{part}: {reason}", *self.last_lines]))


class Cancelled(Failure):
    """A part was not waited for any longer, because another one failed or the operator gave up."""

    def __init__(self, part: str) -> None:
        super().__init__(part, "the start was given up")


def end_of(log: Path) -> list[str]:
    """Read the last lines of a log."""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - LAST_BYTES))
        return file.read().decode(errors="replace").splitlines()[-LAST_LINES:]
