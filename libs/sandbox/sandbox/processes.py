"""Server processes that end when we end: start, watch and stop them."""

import os
import pwd
import random
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, TypedDict

from sandbox.running_time import RunningTime

# Waits at a pipe from us, which the system closes even on kill -9, on every platform; then asks process
# $1 to end (signal $2), and after $3 seconds at most kills what is left of its group.
# (Linux' PR_SET_PDEATHSIG follows the thread that started the child, not the process.)
_KILL_WITH_PARENT = """
read -r _
kill -s "$2" "$1"
left=$3
while [ "$left" -gt 0 ] && kill -0 "$1"; do sleep 1; left=$((left - 1)); done
kill -s KILL -- "-$1"
"""
# Below what Linux, macOS and IANA (RFC 6335) call ephemeral, and below the blocks of ports of whole stacks.
NON_EPHEMERAL_PORTS = range(10_000, 20_000)
_MAX_LOG_BYTES = 8 * 1024 * 1024
_MAX_SECONDS_PER_LOOK = 5.0
# A database writes down what it has in memory.
_STOP_SECONDS = 60


class ServerUnavailable(Exception):
    """An embedded part cannot run; the message says which, why, and where its log is."""

    def __init__(self, part: str, reason: str, log: Path | None = None) -> None:
        self.part, self.reason, self.log = part, reason, log
        super().__init__(f"{part} is unavailable: {reason}" + (f" (log: {log})" if log else ""))


class Account(NamedTuple):
    """A system account to run a process as."""

    uid: int
    gid: int


class _ProcessOptions(TypedDict):
    cwd: str
    env: dict[str, str]
    user: int | None
    group: int | None
    extra_groups: list[int] | None


def _process_options(account: Account | None) -> _ProcessOptions:
    return {
        "cwd": "/",  # ours may be closed to the account
        "env": {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"},
        "user": account.uid if account else None,
        "group": account.gid if account else None,
        "extra_groups": [] if account else None,
    }


def unprivileged() -> Account | None:
    """Choose the account for servers that refuse to run as root; None where we are not root ourselves."""
    if os.geteuid() != 0:
        return None
    try:
        nobody = pwd.getpwnam("nobody")
    except KeyError:
        return Account(65534, 65534)
    return Account(nobody.pw_uid, nobody.pw_gid)


def free_port() -> int:
    """Find a TCP port on 127.0.0.1 that was free a moment ago.

    The system gives it to nobody who asks for just any, and no other call returns it while this process
    runs: a server may take its time until it listens.
    """
    while True:
        port = random.choice(NON_EPHEMERAL_PORTS)  # noqa: S311  # a place, not a secret
        # Of UDP, which has ports of its own.
        reservation = socket.socket(type=socket.SOCK_DGRAM)
        try:
            reservation.bind(("127.0.0.1", port))
            socket.create_server(("127.0.0.1", port)).close()
        except OSError:
            reservation.close()
        else:
            reservation.detach()
            return port


def wait_until(condition: Callable[[], bool], *, seconds: float) -> bool:
    """Poll until the condition holds; False when the time is over.

    A machine that stands still does not use the time up: several looks follow every pause.
    """
    waited = RunningTime(_MAX_SECONDS_PER_LOOK, time.monotonic)
    while not condition():
        if waited.count() >= seconds:
            return False
        time.sleep(0.01)
    return True


def run(server: str, argv: Sequence[str | Path], *, account: Account | None = None, text: str = "") -> str:
    """Run a program to its end, with text as its input, and return what it printed.

    Raises ServerUnavailable if it cannot be run or fails.
    """
    try:
        result = subprocess.run(  # noqa: S603
            argv,
            input=text,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            **_process_options(account),
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise ServerUnavailable(server, f"{argv[0]} does not run: {error}") from error
    if result.returncode != 0:
        reason = (result.stderr or result.stdout).strip()[-600:]
        raise ServerUnavailable(server, f"{argv[0]} failed: {reason}")
    return result.stdout


class Child:
    """A server process that logs to a file and is stopped when this process ends, however it ends."""

    def __init__(
        self,
        server: str,
        argv: Sequence[str | Path],
        *,
        log: Path,
        account: Account | None = None,
        inherits: Sequence[int] = (),
    ) -> None:
        self._log = log
        if log.exists() and log.stat().st_size > _MAX_LOG_BYTES:
            log.unlink()
        with log.open("ab") as output:
            self._log_start = output.tell()
            try:
                self._process = subprocess.Popen(  # noqa: S603
                    argv,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    pass_fds=inherits,
                    start_new_session=True,  # Ctrl-C is for us; we stop our parts in order
                    **_process_options(account),
                )
            except (OSError, subprocess.SubprocessError) as error:
                raise ServerUnavailable(server, f"{argv[0]} does not run: {error}", log) from error
        self._watcher = ParentWatcher(self._process.pid, "INT", _STOP_SECONDS)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether it has not ended yet."""
        return self._process.poll() is None

    def wait(self) -> None:
        """Wait until it has ended, without polling."""
        self._process.wait()

    def output(self) -> str:
        """Read what it logged since it was started."""
        with self._log.open("rb") as log:
            log.seek(self._log_start)
            return log.read().decode(errors="replace")

    def stop(self, *, seconds: float = 30.0) -> None:
        """Send SIGINT, and kill it if it has not ended within the time."""
        # The watcher first: it must never see a process id that another process has by now.
        self._watcher.cancel()
        with suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


class ParentWatcher:
    """Ends a process, the leader of its group, and what is left of the group when our own process is gone."""

    def __init__(self, pid: int, stop_signal: str, seconds: int) -> None:
        self._process = subprocess.Popen(  # noqa: S603
            ["/bin/sh", "-c", _KILL_WITH_PARENT, "watcher", str(pid), stop_signal, str(seconds)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            start_new_session=True,
        )

    def cancel(self) -> None:
        """Stop watching; to be called before the process is waited for, whose id may be another's then."""
        self._process.kill()
        self._process.communicate()
