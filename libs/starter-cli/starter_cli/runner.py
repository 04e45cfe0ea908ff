"""The process that runs a stack on a data folder: who it is, and how to end it."""

import fcntl
import json
import os
import signal
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime

import psutil  # type: ignore[import-untyped]  # it ships no types
from sandbox.processes import wait_until

from starter_cli.errors import Failure
from starter_cli.paths import DEFAULT_DATA, DataDir
from starter_cli.ports import HOST

# Layers of components are stopped one after the other; each component may take 25 seconds.
STOP_SECONDS = 120


@dataclass(frozen=True)
class Runner:
    """A process that runs a stack."""

    pid: int
    since: datetime
    address: str

    def __str__(self) -> str:
        return f"process {self.pid} since {self.since:%H:%M:%S on %d %B}, {self.address}"


def acquire(data_dir: DataDir, gateway_port: int | None) -> int:
    """Lock a data folder and return the lock's descriptor; raises Failure that names who has it."""
    lock = os.open(data_dir.lock_file, os.O_CREAT | os.O_RDWR, 0o600)
    if not try_lock(lock, fcntl.LOCK_EX):
        os.close(lock)
        runner = find(data_dir)
        raise Failure(
            "data folder",
            f"Acme runs on {data_dir.root} already ({runner or 'a process that is just starting'})."
            f" Stop it with `{stop_command(data_dir)}`,"
            " or start a second one with --data and --port (ACME_DATA and GATEWAY_PORT).",
        )
    os.ftruncate(lock, 0)
    os.pwrite(lock, json.dumps({"pid": os.getpid(), "port": gateway_port}).encode(), 0)
    return lock


def find(data_dir: DataDir) -> Runner | None:
    """Return the process that runs a stack on a folder, if one does."""
    with suppress(FileNotFoundError, ValueError, KeyError, psutil.Error), data_dir.lock_file.open() as lock:
        if not try_lock(lock.fileno(), fcntl.LOCK_SH):
            content = json.load(lock)
            since = datetime.fromtimestamp(psutil.Process(content["pid"]).create_time(), UTC).astimezone()
            return Runner(content["pid"], since, f"http://{HOST}:{content['port']}")
    return None


def try_lock(descriptor: int, kind: int) -> bool:
    """Acquire a lock if it is free; return whether it is ours now."""
    with suppress(BlockingIOError):
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
        return True
    return False


def stop(data_dir: DataDir, runner: Runner) -> None:
    """End a stack in good order, as Ctrl-C in its terminal does; raises Failure when it does not end."""
    with suppress(ProcessLookupError):
        os.kill(runner.pid, signal.SIGTERM)
    if not wait_until(lambda: find(data_dir) != runner, seconds=STOP_SECONDS):
        raise Failure(
            "Acme",
            f"process {runner.pid} still runs {STOP_SECONDS} seconds after it was told to stop;"
            f" `kill -9 {runner.pid}` ends it and its components at once",
        )


def stop_command(data_dir: DataDir) -> str:
    """Return the command that stops the stack on a folder."""
    elsewhere = "" if data_dir.root == DEFAULT_DATA else f" --data '{data_dir.root}'"
    return f"{DEFAULT_DATA.parent}/.venv/bin/acme stop{elsewhere}"
