"""What runs on a data folder, written down for other commands; never secrets."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from sandbox.data_dirs import write_private

from starter_cli import runner, secrets
from starter_cli.components import Part
from starter_cli.errors import Failure
from starter_cli.paths import SECRETS, Folders, Layout


@dataclass(frozen=True)
class PartRecord:
    """One part: where it answers, where it says whether it is ready, and where it logs."""

    name: str
    address: str
    ready_url: str | None
    pid: int | None
    log: str
    # Why it does not come up, if it does not.
    problem: str | None = None


@dataclass(frozen=True)
class RunRecord:
    """A stack that runs, or was killed before it could say that it does no longer."""

    pid: int
    ports: dict[str, int]
    parts: list[PartRecord]


def write(layout: Layout, parts: Sequence[Part], problems: Mapping[str, str] | None = None) -> None:
    """Write down what runs now, and why parts do not come up that do not."""
    recorded = [
        PartRecord(
            part.name,
            part.address,
            part.ready_url,
            part.pid,
            str(layout.folders.log(part.name)),
            (problems or {}).get(part.name),
        )
        for part in parts
    ]
    record = RunRecord(os.getpid(), dict(layout.ports), recorded)
    write_private(layout.folders.run, json.dumps(asdict(record), indent=2) + "\n")


def read(folders: Folders) -> RunRecord:
    """Read what runs; raises Failure when nothing does."""
    try:
        told = json.loads(folders.run.read_text())
    except FileNotFoundError:
        told = None
    # A folder that was copied, or whose runner was killed, has a record of what does not run there.
    if told is None or runner.of(folders) is None:
        raise Failure("Acme", f"it does not run on {folders.root}; start it first")
    return RunRecord(told["pid"], told["ports"], [PartRecord(**part) for part in told["parts"]])


def layout(folders: Folders) -> Layout:
    """Give the layout of the stack that runs; raises Failure when none does."""
    return Layout(folders, read(folders).ports, secrets.keep(folders.secrets, SECRETS))
