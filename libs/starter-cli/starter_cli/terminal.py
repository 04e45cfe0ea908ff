"""The operator's terminal, which may go away at any time: writes to it never fail, and its end is noticed."""

import errno
import os
import select
import signal
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Thread, main_thread
from typing import Any, TextIO

from rich.console import Console

# The reader of the pipe has ended, or the terminal was closed.
CLOSED_ERRORS = (errno.EPIPE, errno.EIO, errno.EBADF)


class SafeOutput:
    """A stream on which writing never fails: what a closed terminal does not take is dropped."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write, if there is still somebody who reads."""
        try:
            return self._stream.write(text)
        except (OSError, ValueError) as error:
            self._discard_rest(error)
        return len(text)

    def flush(self) -> None:
        """Flush, if there is still somebody who reads."""
        try:
            self._stream.flush()
        except (OSError, ValueError) as error:
            self._discard_rest(error)

    def _discard_rest(self, error: Exception) -> None:
        """Send the rest to nowhere: what is still buffered would fail again when the interpreter ends."""
        if isinstance(error, OSError) and error.errno in CLOSED_ERRORS:
            with suppress(OSError, ValueError):
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, self._stream.fileno())
                os.close(nowhere)


def console() -> Console:
    """Make a console that prints to the standard output for as long as that is open."""
    return Console(file=SafeOutput(sys.stdout))  # type: ignore[arg-type]  # rich needs no more of a file


@contextmanager
def terminate_on_hangup() -> Iterator[None]:
    """Send this process SIGTERM when its terminal, or whoever reads its output, is gone."""
    copies = [os.dup(number) for number in (1, 2) if is_closable(number)]
    if copies:
        Thread(target=wait_for_hangup, args=(copies,), name="terminal", daemon=True).start()
    # The copies stay open: they are the thread's, which ends with the process.
    yield


def is_closable(descriptor: int) -> bool:
    """Return whether a descriptor is a terminal, a pipe or a socket."""
    try:
        mode = os.fstat(descriptor).st_mode
    except OSError:
        return False
    return os.isatty(descriptor) or stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)


def wait_for_hangup(descriptors: list[int]) -> None:
    """Wait, without using any time of the processor, until nobody reads one of these any more."""
    poll = select.poll()
    for descriptor in descriptors:
        poll.register(descriptor, 0)
    poll.poll()
    signal.pthread_kill(main_thread().ident or 0, signal.SIGTERM)
