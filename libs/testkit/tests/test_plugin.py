import asyncio
import subprocess
import sys
from pathlib import Path

CONFTEST = """
import pytest

@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    for item in items:
        if "shared" in item.path.name:
            item.add_marker(pytest.mark.xdist_group("shared"))
"""
TESTS = """
import os
import time
import pytest
from pathlib import Path

@pytest.mark.parametrize("number", range(8))
def test_notes_its_worker(number):
    time.sleep(0.05)
    with Path("{folder}", "{name}").open("a") as note:
        note.write(os.environ["PYTEST_XDIST_WORKER"] + " ")
"""


async def test_asynchronous_tests_run_on_the_loop_of_the_services() -> None:
    assert type(asyncio.get_running_loop()).__module__.startswith("uvloop")


def test_the_tests_of_a_file_or_group_run_on_one_worker(tmp_path: Path) -> None:
    Path(tmp_path, "conftest.py").write_text(CONFTEST)
    for file, note in (("a", "a"), ("b", "b"), ("shared_c", "shared"), ("shared_d", "shared")):
        Path(tmp_path, f"test_{file}.py").write_text(TESTS.format(folder=tmp_path, name=note))
    spread = ["--numprocesses", "2", "--dist", "loadgroup", "-p", "no:cacheprovider", "-p", "no:schemathesis"]
    subprocess.run([sys.executable, "-m", "pytest", *spread, "."], cwd=tmp_path, check=True, timeout=600)
    workers = {note: Path(tmp_path, note).read_text().split() for note in ("a", "b", "shared")}
    assert {note: (len(names), len(set(names))) for note, names in workers.items()} == {
        "a": (8, 1),
        "b": (8, 1),
        "shared": (16, 1),
    }
