"""Processes that start at once: forked from a process that has imported their programs already.

Importing a service takes seconds of CPU, and a test of replicas starts many of them.
"""

import contextlib
import gc
import importlib
import json
import os
import runpy
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Self

import pytest
from pydantic import JsonValue

from testkit import busy_machine
from testkit.eventually import MAX_START_SECONDS, until


class ForkServer:
    """A process that has imported programs, and forks whenever one of them is to run.

    A program is a file, or the name of a module, as for `python -m`.
    """

    def __init__(self, *programs: Path | str) -> None:
        self._programs = [str(program) for program in programs]
        self._lock = threading.Lock()
        self._process = subprocess.Popen(  # noqa: S603  # what the test names
            [sys.executable, "-m", "testkit.fork_server", *self._programs],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.communicate()

    def start(
        self,
        environment: Mapping[str, str],
        log: Path,
        argv: Sequence[str] = (),
        folder: Path | None = None,
        errors: Path | None = None,
    ) -> int:
        """Run a program, the first one unless `argv` names one, in this environment and folder.

        Its output is appended to a log, that of errors to another if there is one. Return its process id.
        """
        pid = self._call(
            {
                "argv": [*(argv or self._programs[:1])],
                "environment": dict(environment),
                "folder": str(folder or Path.cwd()),
                "log": str(log),
                "errors": str(errors or log),
            }
        )
        assert isinstance(pid, int)
        return pid

    def run(
        self, argv: Sequence[str], environment: Mapping[str, str], seconds: float = MAX_START_SECONDS
    ) -> subprocess.CompletedProcess[str]:
        """Run a program to its end, as `subprocess.run` does with `capture_output`."""
        with TemporaryDirectory() as folder:
            output, errors = Path(folder, "output"), Path(folder, "errors")
            pid = self.start(environment, output, argv, errors=errors)
            until(lambda: self.poll(pid) is not None, seconds)
            code = self.poll(pid)
            assert code is not None
            return subprocess.CompletedProcess(argv, code, output.read_text(), errors.read_text())

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


def serve(programs: Sequence[str]) -> None:
    """Answer requests until the input ends; a forked process returns, and runs its program."""
    gc.disable()
    busy_machine.wait_longer(pytest.MonkeyPatch())
    for program in programs:
        load(program)
    # It stays: no process that is forked need look at it, or take it apart at its end.
    gc.freeze()
    gc.enable()
    exit_codes: dict[int, int] = {}
    for line in sys.stdin:
        request = json.loads(line)
        if "poll" in request:
            answer = poll(request["poll"], exit_codes)
        elif not (answer := os.fork()):
            become(request["environment"], request["folder"], request["log"], request["errors"])
            run(request["argv"])
            return
        sys.stdout.write(f"{json.dumps(answer)}\n")
        sys.stdout.flush()


def is_file(program: str) -> bool:
    """Return whether a program is a file, and not the name of a module."""
    return program.endswith(".py")


def load(program: str) -> None:
    """Import a program and all that it imports."""
    if is_file(program):
        runpy.run_path(program)
    else:
        importlib.import_module(program)


def run(argv: Sequence[str]) -> None:
    """Run a program as Python does that is started with it."""
    sys.argv[:] = argv
    if is_file(argv[0]):
        runpy.run_path(argv[0], run_name="__main__")
    else:
        # A module, unlike a package, runs under another name than it was imported with, of which runpy warns.
        if not hasattr(sys.modules.get(argv[0]), "__path__"):
            sys.modules.pop(argv[0], None)
        runpy.run_module(argv[0], run_name="__main__", alter_sys=True)


def poll(pid: int, exit_codes: dict[int, int]) -> int | None:
    """Return the exit code of a child, which can be asked for again, or None while it runs."""
    if pid not in exit_codes:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if not ended:
            return None
        exit_codes[pid] = os.waitstatus_to_exitcode(status)
    return exit_codes[pid]


def become(environment: Mapping[str, str], folder: str, log: str, errors: str) -> None:
    """Replace environment and folder of the process, its input by nothing and its output by logs."""
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    with open(os.devnull) as nothing, open(log, "ab") as output, open(errors, "ab") as error_output:
        os.dup2(nothing.fileno(), 0)
        os.dup2(output.fileno(), 1)
        os.dup2(error_output.fileno(), 2)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        serve(sys.argv[1:])
