"""Processes that are forked from one that has imported their program: each runs as if it had been started."""

import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from testkit.eventually import until
from testkit.fork_server import ForkServer

PROGRAM = """
import json, os, sys, time
from pathlib import Path

with Path({imports!r}).open("a") as imports:
    imports.write(f"{{__name__}} ")
if __name__ == "__main__":
    started = {{"argv": sys.argv, "environment": dict(os.environ), "folder": os.getcwd()}}
    print(json.dumps(started), flush=True)
    if "STAY" in os.environ:
        time.sleep(600)
    sys.exit(os.environ["EXIT"])
"""


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a program that notes under which name it is imported, says how it was started, and fails."""
    path = tmp_path_factory.mktemp("program") / "program.py"
    path.write_text(PROGRAM.format(imports=str(path.with_name("imports"))))
    return path


@pytest.fixture(scope="module")
def server(program: Path) -> Iterator[ForkServer]:
    with ForkServer(program, "json.tool") as server:
        yield server


@pytest.fixture
def start(server: ForkServer, tmp_path: Path) -> Callable[..., int]:
    return lambda *argv, **environment: server.start(environment, tmp_path / "log", argv, tmp_path)


def exit_code(server: ForkServer, pid: int) -> int:
    until(lambda: server.poll(pid) is not None)
    code = server.poll(pid)
    assert code is not None
    return code


def test_a_program_has_its_own_arguments_environment_and_folder(
    server: ForkServer, start: Callable[..., int], program: Path, tmp_path: Path
) -> None:
    assert exit_code(server, start(str(program), "--on", EXIT="too hot")) == 1
    started, error = (tmp_path / "log").read_text().splitlines()
    assert json.loads(started) == {
        "argv": [str(program), "--on"],
        "environment": {"EXIT": "too hot"},
        "folder": str(tmp_path),
    }
    assert error == "too hot"


def test_a_program_runs_to_its_end_with_its_output_and_its_errors_apart(
    server: ForkServer, program: Path
) -> None:
    done = server.run([str(program), "--on"], {"EXIT": "too hot"})
    assert (done.returncode, done.stderr) == (1, "too hot\n")
    assert json.loads(done.stdout)["argv"] == [str(program), "--on"]


def test_a_module_runs_as_python_m_runs_it(
    server: ForkServer, start: Callable[..., int], tmp_path: Path
) -> None:
    (tmp_path / "in").write_text('{"a":1}')
    assert exit_code(server, start("json.tool", "--compact", "in", "out")) == 0
    assert (tmp_path / "out").read_text() == '{"a":1}\n'
    assert (tmp_path / "log").read_text() == ""


def test_the_first_program_runs_as_often_as_it_is_started_and_is_imported_before(
    server: ForkServer, start: Callable[..., int], program: Path
) -> None:
    imports = program.with_name("imports")
    before = imports.read_text()
    assert [exit_code(server, start(EXIT="")) for _ in range(2)] == [1, 1]
    assert before.split()[0] == "<run_path>"
    assert imports.read_text() == f"{before}__main__ __main__ "


def test_a_process_lives_until_it_is_killed(server: ForkServer, start: Callable[..., int]) -> None:
    first, second = start(STAY="1"), start(STAY="1")
    assert first != second
    os.kill(first, signal.SIGKILL)
    assert exit_code(server, first) == -signal.SIGKILL
    assert server.poll(second) is None
    os.kill(second, signal.SIGTERM)
    assert exit_code(server, second) == -signal.SIGTERM
