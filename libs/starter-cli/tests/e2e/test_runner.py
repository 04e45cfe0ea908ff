"""The runner as an operator has it: a process in a terminal that starts, talks, and leaves nothing behind."""

import fcntl
import json
import os
import pty
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from sandbox.processes import free_port
from starter_cli.paths import DataDir, Layout
from starter_cli.ports import HOST, PortBlock, is_free
from testkit.databases import query

from .conftest import COMMAND_SECONDS

# Takes the terminal at its standard input, as a shell does, and becomes the program that it is given.
IN_TERMINAL = [
    sys.executable,
    "-c",
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0);"
    " os.execv(sys.argv[1], sys.argv[1:])",
]
COMMAND = [sys.executable, "-m", "starter_cli.app"]


def inbox_of(run: "Runner") -> str:
    match = re.search(r"^sandbox +(\S+)", run.said, re.MULTILINE)
    assert match, run.said
    return match[1]


def stop(data: Path) -> subprocess.CompletedProcess[str]:
    command = [*COMMAND, "stop", "--data", str(data)]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=COMMAND_SECONDS, check=False)


def read_until(terminal: int, words: bytes) -> bytes:
    """Read what is shown on a terminal until it shows some words."""
    shown = b""
    while words not in shown:
        shown += os.read(terminal, 65536)
    return shown


class Runner:
    """One run of the command, with an environment as bare as that of a new account."""

    def __init__(
        self, data: Path, port: int, *options: str, terminal: int | None = None, **environment: str
    ) -> None:
        self.port = port
        bare = {"PATH": os.environ["PATH"], "HOME": str(data / "no such home"), **environment}
        self._process = subprocess.Popen(
            [
                *([] if terminal is None else IN_TERMINAL),
                *COMMAND,
                "start",
                "--data",
                str(data),
                "--port",
                str(port),
                *options,
            ],
            cwd="/",
            env=bare,
            stdin=terminal,
            stdout=subprocess.PIPE if terminal is None else terminal,
            stderr=subprocess.STDOUT,
            text=True,
            # As a shell in a window of its own has it: the terminal's end is told to its session.
            start_new_session=terminal is not None,
        )
        self.pid = self._process.pid
        self.said = ""
        self._started: dict[int, psutil.Process] = {}

    def until_it_says(self, words: str) -> None:
        assert self._process.stdout
        for line in self._process.stdout:
            self.said += line
            self.look_around()
            if words in line:
                return
        raise AssertionError(self.said)

    def look_around(self) -> None:
        """Remember every process that it has started."""
        children = psutil.Process(self._process.pid).children(recursive=True)
        self._started |= {child.pid: child for child in children}

    def send(self, number: signal.Signals) -> None:
        self.look_around()
        self._process.send_signal(number)

    def stop_reading(self) -> None:
        assert self._process.stdout
        self._process.stdout.close()
        self._process.stdout = None

    def end(self) -> int:
        """Wait for its end; gives the exit code."""
        self.said += self._process.communicate(timeout=COMMAND_SECONDS)[0] or ""
        self.exit_code = self._process.returncode
        return self.exit_code

    def left_behind(self) -> list[str]:
        """Wait for what it started to be gone; gives what is not, and its port if that is taken."""
        psutil.wait_procs(self._started.values(), timeout=60)
        living = [child for child in self._started.values() if child.is_running()]
        left = [str(child) for child in living if child.status() != psutil.STATUS_ZOMBIE]
        return left if is_free(self.port) else [*left, f"port {self.port}"]


@pytest.fixture(scope="module")
def data() -> Iterator[Path]:
    """Return a folder, with a space in its path, that the runs of this module share."""
    folder = Path(tempfile.mkdtemp(prefix="acme runner "))
    folder.chmod(0o711)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def port() -> Iterator[int]:
    """Return a free port."""
    block = PortBlock(["gateway"])
    yield block.ports["gateway"]
    block.release()


@pytest.fixture(scope="module")
def first_run(data: Path) -> Runner:
    """Return a run with `--once` that has ended; its data is there for the runs that follow."""
    block = PortBlock(["gateway"])
    run = Runner(data, block.ports["gateway"], "--once")
    block.release()
    run.until_it_says("scripted stand-in")
    run.end()
    return run


def test_once_starts_talks_and_stops(data: Path, first_run: Runner) -> None:
    assert first_run.exit_code == 0, first_run.said
    for words in (
        "postgres ",
        "chat-agent ",
        "gateway ",
        "→ handoff: triage → code_assistant",
        "⚙ current_time",
    ):
        assert words in first_run.said
    assert "kept in the conversation, counted in the usage ledger" in first_run.said
    assert re.search(r"^stripe +http://\S+/stripe ", first_run.said, re.MULTILINE)
    assert "plan   free · used in this period: 1 messages" in first_run.said
    assert first_run.left_behind() == []
    assert [log.name for log in (data / "logs").glob("*.log") if "is killed" in log.read_text()] == []


def test_it_stays_until_ctrl_c_with_the_data_and_the_inbox_address_of_the_run_before(
    data: Path, first_run: Runner, port: int
) -> None:
    password = json.loads((data / "secrets.json").read_text())["owner-password"]
    run = Runner(data, port)
    run.until_it_says("Ctrl-C stops everything")
    assert password in run.said
    assert inbox_of(run) == inbox_of(first_run)
    token, stream, conversations, usage, entitlements = re.findall(
        r"^(?:eval|curl) .*$", run.said, re.MULTILINE
    )
    script = "\n".join([token, stream, f"echo; {conversations}", f"echo; {usage}", f"echo; {entitlements}"])
    tried = subprocess.run(["/bin/sh", "-ec", script], capture_output=True, text=True, timeout=60, check=True)
    assert "event: message.delta" in tried.stdout
    listed, counted, entitled = map(json.loads, tried.stdout.splitlines()[-3:])
    assert len(listed["items"]) == 3
    assert counted["totals"]["runs"] >= 2
    limits = {feature["feature"]: feature["limit"] for feature in entitled["features"]}
    assert (entitled["plan_code"], limits["messages"]) == ("free", None)
    run.send(signal.SIGINT)
    assert run.end() == 0, run.said
    assert run.left_behind() == []


def test_ctrl_c_during_the_start_leaves_nothing(data: Path, port: int) -> None:
    run = Runner(data, port)
    run.until_it_says("databases ")
    run.send(signal.SIGTERM)
    assert run.end() == 130, run.said
    assert "Traceback" not in run.said
    assert run.left_behind() == []


@pytest.mark.parametrize("moment", ["sandbox ", "Ctrl-C stops everything"])
def test_what_it_started_ends_with_it_when_it_is_killed(data: Path, port: int, moment: str) -> None:
    run = Runner(data, port)
    run.until_it_says(moment)
    run.send(signal.SIGKILL)
    run.end()
    assert run.left_behind() == []


def test_a_service_that_cannot_start_is_reported_with_its_log(
    data: Path, first_run: Runner, port: int
) -> None:
    run = Runner(data, port, AUTH_JWKS_MAX_AGE_SECONDS="for ever")
    assert run.end() == 1
    assert re.search("auth_jwks_max_age_seconds", run.said, re.IGNORECASE), run.said
    assert re.search(r"^✗ auth: it stopped while it started \(exit code \d+\)$", run.said, re.MULTILINE)
    assert f"The whole log: {data / 'logs' / 'auth.log'}" in run.said
    assert run.left_behind() == []


def test_a_taken_port_is_reported_before_anything_is_started(data: Path) -> None:
    with socket.create_server((HOST, 0)) as somebody:
        run = Runner(data, somebody.getsockname()[1], "--once")
        assert run.end() == 1
    assert re.search(rf"port \d+ is taken by .* \(process {os.getpid()}\); .*--port", run.said)
    assert "postgres" not in run.said


def test_a_folder_in_use_is_reported(data: Path, port: int) -> None:
    with (data / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        run = Runner(data, port, "--once")
        assert run.end() == 1
    assert f"Acme runs on {data} already" in run.said
    assert "Stopp" not in run.said


def test_the_stack_ends_when_its_terminal_is_closed(data: Path, port: int) -> None:
    terminal, of_the_runner = pty.openpty()
    run = Runner(data, port, terminal=of_the_runner)
    os.close(of_the_runner)
    shown = read_until(terminal, b"Ctrl-C stops everything")
    run.look_around()
    assert b"Starting" in shown
    second = Runner(data, port + 1)
    assert second.end() == 1
    named = rf"already \(process {run.pid} since [^)]+, http://127\.0\.0\.1:{port}\)"
    assert re.search(named, second.said), second.said
    assert f"acme stop --data '{data}'" in second.said
    assert "Stopp" not in second.said
    os.close(terminal)
    run.end()
    assert run.left_behind() == []


@pytest.mark.parametrize("moment", ["sandbox ", "Ctrl-C stops everything"])
def test_the_stack_ends_when_nobody_reads_its_output_any_more(data: Path, port: int, moment: str) -> None:
    run = Runner(data, port)
    run.until_it_says(moment)
    run.stop_reading()
    assert run.end() in {0, 130}
    assert run.left_behind() == []


def test_stop_ends_a_stack_that_runs_in_another_terminal(data: Path, port: int) -> None:
    run = Runner(data, port)
    run.until_it_says("databases ")
    stopped = stop(data)
    assert stopped.returncode == 0, stopped.stdout
    assert f"Stopping process {run.pid} since" in stopped.stdout
    assert run.end() == 130
    assert run.left_behind() == []
    again = stop(data)
    assert (again.returncode, again.stdout) == (0, f"Nothing to stop: Acme does not run on {data}\n")


def test_a_database_that_is_newer_than_the_code_is_reported(data: Path, first_run: Runner, port: int) -> None:
    layout = Layout(DataDir(data), {"postgres": free_port()}, json.loads((data / "secrets.json").read_text()))
    with layout.postgres:
        [[before]] = query(layout.database_url("auth"), "select version_num from alembic_version")
        query(layout.database_url("auth"), "update alembic_version set version_num = '9999'")
    run = Runner(data, port, "--once")
    assert run.end() == 1
    with layout.postgres:
        query(layout.database_url("auth"), "update alembic_version set version_num = $1", before)
    assert "✗ databases: what auth keeps is newer than this code; use the newer code again" in run.said
    assert "Traceback" not in run.said
    assert run.left_behind() == []


def test_a_lost_password_of_the_database_is_reported_without_a_traceback(
    data: Path, first_run: Runner, port: int
) -> None:
    file = data / "databases" / "admin-password"
    password = file.read_text()
    file.write_text("lost")
    run = Runner(data, port, "--once")
    assert run.end() == 1
    file.write_text(password)
    assert "✗ databases: Postgres says: password authentication failed" in run.said
    assert "Traceback" not in run.said
    assert run.left_behind() == []
