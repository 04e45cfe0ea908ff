"""A program runs as with `python -m`: by its name, with its arguments, to its exit code."""

import subprocess
import sys

import pytest
from starter_cli.processes import PYTHON

SHOW = "import gc, sys; print(__name__, sys.argv[1:], gc.isenabled()); sys.exit(7)"


@pytest.fixture
def run(tmp_path):
    (tmp_path / "server.py").write_text(f"if __name__ == '__main__':\n    {SHOW}\n")
    (tmp_path / "command").mkdir()
    (tmp_path / "command" / "__init__.py").write_text("")
    (tmp_path / "command" / "__main__.py").write_text(SHOW)
    (tmp_path / "broken.py").write_text("import nothing_of_this_name\n")

    def run_program(*arguments):
        argv = [PYTHON[0], "-W", "error", *PYTHON[1:], *arguments]
        environment = {"PYTHONPATH": str(tmp_path)}
        return subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False, env=environment)

    return run_program


@pytest.mark.parametrize(("program", "is_collecting"), [("server", True), ("command", False)])
def test_runs_a_module_or_the_command_of_a_package(run, program, is_collecting):
    result = run(program, "one", "--two")

    assert result.stdout == f"__main__ ['one', '--two'] {is_collecting}\n", result.stderr
    assert (result.returncode, result.stderr) == (7, "")


def test_a_program_that_cannot_be_imported_says_why(run):
    result = run("broken")

    assert result.returncode == 1
    assert "No module named 'nothing_of_this_name'" in result.stderr


def test_takes_no_module_from_the_folder_that_it_runs_in():
    assert "-P" in PYTHON
    assert PYTHON[0] == sys.executable
