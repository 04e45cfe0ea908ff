"""What runs on a data folder, written down for other commands; never secrets."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from sandbox.data_dirs import write_private

from starter_cli import runner, secrets
from starter_cli.components import Component
from starter_cli.errors import Failure
from starter_cli.paths import SECRETS, DataDir, Layout


@dataclass(frozen=True)
class ComponentRecord:
    """One component: where it answers, where it says whether it is ready, and where it logs."""

    name: str
    address: str
    ready_url: str | None
    pid: int | None
    log_file: str
    # Why it does not come up, if it does not.
    problem: str | None = None


@dataclass(frozen=True)
class RunFile:
    """A stack that runs, or was killed before it could say that it does no longer."""

    pid: int
    ports: dict[str, int]
    components: list[ComponentRecord]


def write(layout: Layout, components: Sequence[Component], problems: Mapping[str, str] | None = None) -> None:
    """Write down what runs now, and why components do not come up that do not."""
    recorded = [
        ComponentRecord(
            component.name,
            component.address,
            component.ready_url,
            component.pid,
            str(layout.data_dir.log(component.name)),
            (problems or {}).get(component.name),
        )
        for component in components
    ]
    record = RunFile(os.getpid(), dict(layout.ports), recorded)
    write_private(layout.data_dir.run_file, json.dumps(asdict(record), indent=2) + "\n")


def read(data_dir: DataDir) -> RunFile:
    """Read what runs; raises Failure when nothing does."""
    try:
        content = json.loads(data_dir.run_file.read_text())
    except FileNotFoundError:
        content = None
    # A folder that was copied, or whose runner was killed, has a record of what does not run there.
    if content is None or runner.find(data_dir) is None:
        raise Failure(
            "Acme",
            f"it does not run on {data_dir.root}; start it with `acme start`, or name its folder with --data",
        )
    return RunFile(
        content["pid"],
        content["ports"],
        [ComponentRecord(**component) for component in content["components"]],
    )


def load_layout(data_dir: DataDir) -> Layout:
    """Return the layout of the stack that runs; raises Failure when none does."""
    return Layout(data_dir, read(data_dir).ports, secrets.load_or_create(data_dir.secrets_file, SECRETS))
