"""Processes of one program that start at once: forked from a process that has imported everything already.

Importing a service takes seconds of CPU, and a test of replicas starts many of them.
"""

import contextlib
import json
import os
import runpy
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from pydantic import JsonValue


class ForkServer:
    """A process that has imported a program, and forks whenever the program is to run."""

    def __init__(self, program: Path) -> None:
        self._lock = threading.Lock()
        self._process = subprocess.Popen(  # noqa: S603  # what the test names
            [sys.executable, "-m", "testkit.fork_server", str(program)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.communicate()

    def start(self, environment: Mapping[str, str], log: Path) -> int:
        """Run the program in this environment, its output appended to a log; returns its process id."""
        pid = self._call({"environment": {**os.environ, **environment}, "log": str(log)})
        assert isinstance(pid, int)
        return pid

    def poll(self, pid: int) -> int | None:
        """Return the exit code of a process, or None while it runs."""
        code = self._call({"poll": pid})
        assert code is None or isinstance(code, int)
        return code

    def _call(self, request: JsonValue) -> JsonValue:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with self._lock:
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()
            answer: JsonValue = json.loads(self._process.stdout.readline())
        return answer


def serve(program: str) -> None:
    """Answer requests until the input ends; a forked process returns, and runs the program."""
    runpy.run_path(program)
    exit_codes: dict[int, int] = {}
    for line in sys.stdin:
        request = json.loads(line)
        if "poll" in request:
            answer = poll(request["poll"], exit_codes)
        elif not (answer := os.fork()):
            become(request["environment"], request["log"])
            runpy.run_path(program, run_name="__main__")
            return
        sys.stdout.write(f"{json.dumps(answer)}\n")
        sys.stdout.flush()


def poll(pid: int, exit_codes: dict[int, int]) -> int | None:
    """Return the exit code of a child, which can be asked for again, or None while it runs."""
    if pid not in exit_codes:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if not ended:
            return None
        exit_codes[pid] = os.waitstatus_to_exitcode(status)
    return exit_codes[pid]


def become(environment: Mapping[str, str], log: str) -> None:
    """Take an environment, and a log in place of the server's input and output."""
    os.environ.clear()
    os.environ.update(environment)
    with open(os.devnull) as nothing, open(log, "ab") as output:
        os.dup2(nothing.fileno(), 0)
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        serve(sys.argv[1])
