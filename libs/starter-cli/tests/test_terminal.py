"""Output that never fails, whatever has become of the terminal."""

import errno
import io
import os
import subprocess
import sys
import time

import pytest
from starter_cli.terminal import SafeOutput

PRINT = """
import sys, time
from starter_cli import terminal
console = terminal.console()
if sys.argv[1] == "watched":
    with terminal.terminate_on_hangup():
        time.sleep(60)
sys.stdin.read()
for _ in range(1000):
    console.print("still here")
sys.stderr.write("done")
"""


def start(how: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", PRINT, how],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def test_writing_to_a_closed_pipe_fails_nobody() -> None:
    process = start("unwatched")
    assert process.stdout
    process.stdout.close()
    process.stdout = None
    _, errors = process.communicate(b"", timeout=60)
    assert (process.returncode, errors) == (0, b"done")


def test_a_closed_pipe_ends_who_watches_it() -> None:
    process = start("watched")
    assert process.stdout
    time.sleep(1)
    assert process.poll() is None
    process.stdout.close()
    process.stdout = None
    process.communicate(timeout=60)
    assert process.returncode == -15


@pytest.mark.parametrize("number", [errno.EIO, errno.EPIPE, errno.ENOSPC])
def test_no_error_of_the_system_comes_through(number: int) -> None:
    class Broken(io.StringIO):
        def write(self, _text: str) -> int:
            raise OSError(number, os.strerror(number))

        def flush(self) -> None:
            raise OSError(number, os.strerror(number))

    output = SafeOutput(Broken())  # type: ignore[arg-type]  # as much of a file as is used
    assert output.write("lost") == 4
    output.flush()
