import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from threading import Event

import pytest
from sandbox.processes import free_port, wait_until
from starter_cli.components import ProgramComponent
from starter_cli.errors import Failure
from starter_cli.processes import Program
from starter_cli.run_file import ComponentRecord
from starter_cli.startup import Progress
from starter_cli.status import component_state
from starter_cli.supervisor import Supervisor

# Answers, unless there is a file that keeps it from starting.
SERVE = """
import pathlib, sys
from http.server import SimpleHTTPRequestHandler, test
if pathlib.Path("broken").exists():
    sys.exit("broken")
test(SimpleHTTPRequestHandler, port=int(sys.argv[1]), bind="127.0.0.1")
"""


class Supervised:
    """A part that is supervised, and its progress."""

    def __init__(self, folder: Path) -> None:
        port = free_port()
        url = f"http://127.0.0.1:{port}/"
        argv = [sys.executable, "-c", SERVE, str(port)]
        self.folder = folder
        program = Program("part", argv, folder, {}, folder / "part.log")
        self.part = ProgramComponent("part", url, url, lambda: program)
        self.messages: list[str] = []
        self.changes: list[int | None] = []
        self.ending = Event()
        self.supervisor = Supervisor(
            self.part, self.ending, self.on_progress, on_change=lambda: self.changes.append(self.part.pid)
        )
        self.part.start(self.ending)
        self.supervisor.start()

    def on_progress(self, progress: Progress) -> None:
        self.messages.append(progress.message)

    def kill(self) -> None:
        assert self.part.pid
        os.kill(self.part.pid, signal.SIGKILL)

    def has_reported(self, words: str, times: int = 1) -> bool:
        return wait_until(lambda: sum(words in each for each in self.messages) >= times, seconds=60)


def test_what_does_not_come_up_is_known_until_it_does(supervised: Supervised) -> None:
    broken = supervised.folder / "broken"
    broken.touch()
    supervised.kill()
    assert supervised.has_reported("part did not start")
    assert wait_until(lambda: supervised.supervisor.problem is not None, seconds=60)
    record = ComponentRecord("part", "", None, None, "", supervised.supervisor.problem)
    assert component_state(record).startswith("does not start: it stopped while it started (exit code 1)")
    broken.unlink()
    assert supervised.has_reported("part is back")
    assert supervised.supervisor.problem is None


@pytest.fixture
def supervised(tmp_path: Path) -> Iterator[Supervised]:
    supervised = Supervised(tmp_path)
    yield supervised
    supervised.ending.set()
    supervised.part.stop()
    supervised.supervisor.join()


def test_starts_a_part_again_that_died_and_says_so(supervised: Supervised) -> None:
    before = supervised.part.pid
    supervised.kill()
    assert supervised.has_reported("is back")
    assert supervised.messages[0] == "part stopped (killed by SIGKILL); starting it again in 0.5 s"
    assert supervised.changes == [supervised.part.pid]
    assert supervised.part.pid != before


def test_waits_longer_each_time_while_it_cannot_be_started(supervised: Supervised) -> None:
    broken = supervised.folder / "broken"
    broken.touch()
    supervised.kill()
    assert supervised.has_reported("in 2 s")
    broken.unlink()
    assert supervised.has_reported("is back")
    pauses = [each.split("again in ")[1] for each in supervised.messages if "again in" in each]
    assert pauses == ["0.5 s", "1 s", "2 s"]
    assert f"log: {supervised.folder / 'part.log'}" in supervised.messages[1]


def test_leaves_a_part_alone_that_was_stopped_on_purpose(supervised: Supervised) -> None:
    with supervised.supervisor.paused():
        assert not supervised.part.is_running
    assert supervised.part.is_running
    [message] = supervised.messages
    assert message.startswith("part is back")


def test_says_why_a_part_does_not_come_back_that_was_stopped_on_purpose(supervised: Supervised) -> None:
    broken = supervised.folder / "broken"
    with pytest.raises(Failure), supervised.supervisor.paused():
        broken.touch()
    assert supervised.messages[0].startswith(
        "part did not start: it stopped while it started (exit code 1): broken (log: "
    )
    broken.unlink()
    assert supervised.has_reported("part is back")


def test_ends_while_it_waits_to_start_a_part_again(supervised: Supervised) -> None:
    supervised.kill()
    assert supervised.has_reported("starting it again")
    supervised.ending.set()
    supervised.supervisor.join()
    assert not supervised.part.is_running
