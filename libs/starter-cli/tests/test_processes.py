import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from threading import Event, Timer

import psutil
import pytest
from sandbox.processes import free_port, wait_until
from starter_cli.errors import Cancelled, Failure
from starter_cli.processes import Process, Program

STUBBORN = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("up", flush=True)
time.sleep(600)
"""

STARTS_ANOTHER = """
import subprocess, sys
print(subprocess.Popen([sys.executable, "-c", sys.argv[1]]).pid, flush=True)
raise SystemExit(subprocess.signal.pause())
"""


Start = Callable[[Program], Process]
RunCode = Callable[[str], subprocess.Popen[str]]


def program(folder: Path, code: str, *arguments: object, **environment: str) -> Program:
    argv = [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)]
    return Program("part", argv, folder, environment, folder / "part.log")


@pytest.fixture
def start() -> Iterator[Start]:
    """Return a function that starts a program, which ends with the test, also with one that fails."""
    with ExitStack() as started:

        def start(program: Program) -> Process:
            process = Process(program)
            started.callback(process.stop, seconds=0)
            return process

        yield start


@pytest.fixture
def run_code() -> Iterator[RunCode]:
    """Return a function that runs code in a Python of its own, which is killed after the test."""
    with ExitStack() as started:

        def run(code: str) -> subprocess.Popen[str]:
            argv = [sys.executable, "-c", textwrap.dedent(code)]
            process = started.enter_context(subprocess.Popen(argv, stdout=subprocess.PIPE, text=True))
            started.callback(process.kill)
            return process

        yield run


def child_of(log: Path) -> int:
    """Wait until what a program has started is up, and return its id; either may be in the log first."""
    assert wait_until(lambda: log.exists() and len(log.read_text().split()) == 2, seconds=60)
    [pid] = filter(str.isdigit, log.read_text().split())
    return int(pid)


def is_gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_waits_until_a_server_answers(tmp_path: Path, start: Start) -> None:
    port = free_port()
    argv = [sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1"]
    server = start(Program("part", argv, tmp_path, {}, tmp_path / "part.log"))
    server.wait_for(f"http://127.0.0.1:{port}/", Event())
    assert server.is_running
    server.stop()
    assert not server.is_running


def test_tells_of_a_server_that_ends_while_it_starts_with_the_end_of_its_log(
    tmp_path: Path, start: Start
) -> None:
    server = start(program(tmp_path, "print('no database'); raise SystemExit(7)"))
    with pytest.raises(Failure, match="exit code 7") as failed:
        server.wait_for("http://127.0.0.1:9/", Event())
    assert failed.value.last_lines == ["no database"]
    assert failed.value.log == tmp_path / "part.log"


def test_tells_of_a_server_that_never_answers_and_stops_it(tmp_path: Path, start: Start) -> None:
    server = start(program(tmp_path, "import time; time.sleep(600)"))
    with pytest.raises(Failure, match=r"not ready within 0\.2 seconds"):
        server.wait_for("http://127.0.0.1:9/", Event(), seconds=0.2)
    assert not server.is_running


def test_gives_up_waiting_when_the_start_is_cancelled(tmp_path: Path, start: Start) -> None:
    cancelled = Event()
    Timer(0.1, cancelled.set).start()
    server = start(program(tmp_path, "import time; time.sleep(600)"))
    with pytest.raises(Cancelled):
        server.wait_for("http://127.0.0.1:9/", cancelled)
    assert not server.is_running


def test_tells_of_a_program_that_cannot_be_run(tmp_path: Path) -> None:
    missing = Program("part", [tmp_path / "missing"], tmp_path, {}, tmp_path / "part.log")
    with pytest.raises(Failure, match=r"it cannot be run: .*missing"):
        Process(missing)


def test_passes_on_only_its_own_variables(
    tmp_path: Path, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "of the caller")
    start(program(tmp_path, "import os; print(dict(os.environ))", GIVEN="1")).wait(Event())
    result = (tmp_path / "part.log").read_text()
    assert "GIVEN" in result
    assert "AWS_SECRET_ACCESS_KEY" not in result


def test_stops_what_the_program_started_too(tmp_path: Path, start: Start) -> None:
    log = tmp_path / "part.log"
    server = start(program(tmp_path, STARTS_ANOTHER, STUBBORN))
    child = child_of(log)
    server.stop()
    assert wait_until(lambda: is_gone(child), seconds=60)


def test_ends_a_program_that_does_not_want_to(tmp_path: Path, start: Start) -> None:
    log = tmp_path / "part.log"
    server = start(program(tmp_path, STUBBORN))
    assert wait_until(lambda: log.exists() and "up" in log.read_text(), seconds=60)
    server.stop(seconds=0.1)
    assert server.exit_reason == "killed by SIGKILL"
    assert "did not end within 0.1 seconds" in log.read_text()


def test_programs_end_with_us_even_when_we_are_killed(tmp_path: Path, run_code: RunCode) -> None:
    runner = f"""
        import signal, sys
        from pathlib import Path
        from starter_cli.processes import Process, Program
        folder = Path({str(tmp_path)!r})
        argv = [sys.executable, "-c", "import time; time.sleep(600)"]
        print(Process(Program("part", argv, folder, {{}}, folder / "part.log")).pid, flush=True)
        signal.pause()
    """
    us = run_code(runner)
    assert us.stdout
    pid = int(us.stdout.readline())
    assert not is_gone(pid)
    us.kill()
    us.wait()
    assert wait_until(lambda: is_gone(pid), seconds=60)


def test_what_a_program_started_ends_with_us_too(tmp_path: Path, run_code: RunCode) -> None:
    runner = f"""
        import signal, sys
        from pathlib import Path
        from starter_cli.processes import Process, Program
        folder = Path({str(tmp_path)!r})
        code = {STARTS_ANOTHER!r}
        argv = [sys.executable, "-c", code, {STUBBORN!r}]
        Process(Program("part", argv, folder, {{}}, folder / "part.log"))
        signal.pause()
    """
    us = run_code(runner)
    log = tmp_path / "part.log"
    child = child_of(log)
    us.kill()
    us.wait()
    assert wait_until(lambda: is_gone(child), seconds=60)


def test_ctrl_c_in_the_terminal_reaches_us_alone(tmp_path: Path, start: Start) -> None:
    server = start(program(tmp_path, "import time; time.sleep(600)"))
    assert os.getpgid(server.pid) != os.getpgid(0)
    server.stop()
    assert server.exit_reason == f"killed by {signal.SIGTERM.name}"


def test_keeps_the_last_large_log_and_begins_a_new_one(tmp_path: Path, start: Start) -> None:
    log = tmp_path / "part.log"
    log.write_bytes(b"old\n" * 3_000_000)
    start(program(tmp_path, "print('new')")).wait(Event())
    assert log.read_text() == "new\n"
    assert (tmp_path / "part.1.log").stat().st_size == 12_000_000
