"""Programs of ours: start one, see when it answers, stop it. None of them outlives us, however we go."""

import http.client
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from urllib.parse import urlsplit

from sandbox.processes import ParentWatcher

from starter_cli.errors import Cancelled, Failure

START_SECONDS = 90
# A service lets open streams come to their end for twenty seconds.
STOP_SECONDS = 25
POLL_SECONDS = 0.05
# -P: no module is taken from the folder that a program happens to run in.
PYTHON = (sys.executable, "-P", "-m", "starter_cli.quick_start")
# How our own lines begin in a program's log.
NOTE_PREFIX = "[starter-cli]"
MAX_LOG_BYTES = 8 * 1024 * 1024

# What is asked to end when we are gone has so long for it.
ORPHAN_SECONDS = 10


@dataclass(frozen=True)
class Program:
    """What to run, where, with which environment, and where its output goes."""

    name: str
    argv: Sequence[str | Path]
    cwd: Path
    environment: Mapping[str, str]
    log: Path


class Process:
    """One running program, in a process group of its own, so that Ctrl-C is for us alone."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self._is_group_killed = False
        rotate(program.log)
        try:
            with program.log.open("ab") as output:
                self._popen = subprocess.Popen(  # noqa: S603
                    program.argv,
                    cwd=program.cwd,
                    env=program.environment,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    start_new_session=True,
                )
        except OSError as error:
            raise Failure(program.name, f"it cannot be run: {error}", program.log) from error
        self._watcher = ParentWatcher(self._popen.pid, "TERM", ORPHAN_SECONDS)

    @property
    def pid(self) -> int:
        """The process id of the program itself."""
        return self._popen.pid

    @property
    def is_running(self) -> bool:
        """Whether it has not ended; what is left of its group ends with it."""
        if self._popen.poll() is None:
            return True
        # At once: from now on its number may become another's.
        self._kill_group()
        return False

    @property
    def exit_reason(self) -> str:
        """How it ended, in words."""
        code = self._popen.returncode
        return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"

    def wait_until_ended(self) -> None:
        """Wait until it has ended, without polling."""
        self._popen.wait()

    def wait(self, cancelled: Event, seconds: float = START_SECONDS) -> None:
        """Wait for a program that does one thing, and raise Failure when it fails."""
        self._wait_until(lambda: not self.is_running, cancelled, seconds)
        if self._popen.returncode != 0:
            raise Failure(self.program.name, f"it failed ({self.exit_reason})", self.program.log)

    def wait_for(self, url: str, cancelled: Event, seconds: float = START_SECONDS) -> None:
        """Wait until a server answers 200 at a URL, and raise Failure when it ends before."""
        self._wait_until(lambda: not self.is_running or is_ready(url), cancelled, seconds)
        if not self.is_running:
            raise Failure(
                self.program.name, f"it stopped while it started ({self.exit_reason})", self.program.log
            )

    def _wait_until(self, condition: Callable[[], bool], cancelled: Event, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                self.stop()
                raise Failure(
                    self.program.name, f"it was not ready within {seconds:g} seconds", self.program.log
                )
            if cancelled.wait(POLL_SECONDS):
                self.stop()
                raise Cancelled(self.program.name)

    def stop(self, seconds: float = STOP_SECONDS) -> None:
        """Send SIGTERM, and kill it if it has not ended within the time; nothing of its group is left."""
        if self.is_running:
            self._popen.terminate()
            try:
                self._popen.wait(seconds)
            except subprocess.TimeoutExpired:
                self._log_note(f"it did not end within {seconds:g} seconds of being told to, and is killed")
        self._kill_group()
        self._popen.wait()

    def _log_note(self, sentence: str) -> None:
        # A full disk must not keep a component from being stopped.
        with suppress(OSError), self.program.log.open("a") as log:
            log.write(f"{NOTE_PREFIX} {sentence}\n")

    def _kill_group(self) -> None:
        """End what is left of the group."""
        if not self._is_group_killed:
            self._is_group_killed = True
            self._watcher.cancel()
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._popen.pid, signal.SIGKILL)


def rotate(log: Path) -> None:
    """Make room in a log that has grown large; the last one is kept."""
    if log.exists() and log.stat().st_size > MAX_LOG_BYTES:
        log.replace(log.with_suffix(".1.log"))


def is_ready(url: str) -> bool:
    """Return whether a URL on this machine answers 200 now."""
    return fetch(url)[0] == http.client.OK


def fetch(url: str) -> tuple[int, bytes]:
    """Return the status and the body of a URL on this machine; 0 when nothing answers."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=5)
    try:
        connection.request("GET", parts.path or "/")
        response = connection.getresponse()
        return response.status, response.read()
    except (OSError, http.client.HTTPException):
        return 0, b""
    finally:
        connection.close()
