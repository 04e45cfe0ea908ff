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
from starter_cli.paths import DEFAULT_DATA, Folders
from starter_cli.ports import HOST

# Layers of parts are stopped one after the other; each part may take 25 seconds.
STOP_SECONDS = 120


@dataclass(frozen=True)
class Holder:
    """A process that runs a stack."""

    pid: int
    since: datetime
    address: str

    def __str__(self) -> str:
        return f"process {self.pid} since {self.since:%H:%M:%S on %d %B}, {self.address}"


def hold(folders: Folders, gateway_port: int | None) -> int:
    """Lock a data folder and return the lock's descriptor; raises Failure that names who has it."""
    lock = os.open(folders.lock, os.O_CREAT | os.O_RDWR, 0o600)
    if not is_locked(lock, fcntl.LOCK_EX):
        os.close(lock)
        holder = of(folders)
        raise Failure(
            "data folder",
            f"Acme runs on {folders.root} already ({holder or 'a process that is just starting'})."
            f" Stop it with `{stop_command(folders)}`,"
            " or start a second one with --data and --port.",
        )
    os.ftruncate(lock, 0)
    os.pwrite(lock, json.dumps({"pid": os.getpid(), "port": gateway_port}).encode(), 0)
    return lock


def of(folders: Folders) -> Holder | None:
    """Return the process that runs a stack on a folder, if one does."""
    with suppress(FileNotFoundError, ValueError, KeyError, psutil.Error), folders.lock.open() as lock:
        if not is_locked(lock.fileno(), fcntl.LOCK_SH):
            about = json.load(lock)
            since = datetime.fromtimestamp(psutil.Process(about["pid"]).create_time(), UTC).astimezone()
            return Holder(about["pid"], since, f"http://{HOST}:{about['port']}")
    return None


def is_locked(descriptor: int, kind: int) -> bool:
    """Take a lock if it is free; tell whether it is ours now."""
    with suppress(BlockingIOError):
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
        return True
    return False


def stop(folders: Folders, holder: Holder) -> None:
    """End a stack in good order, as Ctrl-C in its terminal does; raises Failure when it does not end."""
    with suppress(ProcessLookupError):
        os.kill(holder.pid, signal.SIGTERM)
    if not wait_until(lambda: of(folders) != holder, seconds=STOP_SECONDS):
        raise Failure(
            "Acme",
            f"process {holder.pid} still runs {STOP_SECONDS} seconds after it was told to stop;"
            f" `kill -9 {holder.pid}` ends it and its parts at once",
        )


def stop_command(folders: Folders) -> str:
    """Return the command that stops the stack on a folder."""
    elsewhere = "" if folders.root == DEFAULT_DATA else f" --data '{folders.root}'"
    return f"{DEFAULT_DATA.parent}/.venv/bin/acme stop{elsewhere}"
