"""Which functions of a process spend its time, by py-spy, which samples it from outside."""

import asyncio
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text
from starter_cli import environment
from starter_cli.processes import Process, Program

from scripts.bench import environments
from scripts.bench.rows import Load, run_turns
from scripts.bench.systems import System

MAX_ROWS = 30
# Where threads wait, which py-spy cannot always tell from working.
WAITING = frozenset({"Condition.wait (threading.py)", "_worker (concurrent/futures/thread.py)"})
LINE = re.compile(r":\d+\)$")


async def record(system: System, part: str, load: Load, seconds: int, folder: Path) -> Path:
    """Sample one process of a system under a load for some seconds, and give the file of the samples."""
    samples = folder / f"{part}.samples"
    samples.unlink(missing_ok=True)
    pid = system.parts["services"][part]
    options = ["-f", "raw", "-d", str(seconds), "-o", str(samples), "-p", str(pid)]
    argv = [str(environments.programs("py-spy") / "py-spy"), "record", *options]
    log = folder / "py-spy.log"
    process = Process(Program("py-spy", argv, folder, environment.python_variables(), log))
    try:
        request = await asyncio.to_thread(system.build_request, load.prompt)
        await run_turns(request, load, while_running(process))
    finally:
        process.stop()
    if not samples.exists():
        raise RuntimeError(f"py-spy took no samples: {log.read_text().strip()}")
    return samples


def while_running(process: Process) -> Iterator[None]:
    """Go on for as long as a process does."""
    while process.is_running:
        yield None


def show(samples: Path, console: Console) -> None:
    """Print in which packages and functions the time is spent, and for which."""
    inside, packages, below = Counter[str](), Counter[str](), Counter[str]()
    for stack, count in read(samples):
        inside[stack[-1]] += count
        packages[package(stack[-1])] += count
        below.update(dict.fromkeys(stack, count))
    for title, counts in (
        ("package (C code counts for its caller)", packages),
        ("function, itself", inside),
        ("function, with what it calls", below),
    ):
        console.print(shares(title, counts, packages.total()))


def read(samples: Path) -> Iterator[tuple[list[str], int]]:
    """Read the stacks of threads at work, without line numbers, and how often each was seen."""
    for line in samples.read_text().splitlines():
        stack, _, count = line.rpartition(" ")
        frames = [LINE.sub(")", frame) for frame in stack.split(";")]
        if frames[-1] not in WAITING:
            yield frames, int(count)


def package(frame: str) -> str:
    """Name the package that a frame, `function (folder/file.py)`, is in."""
    return frame.rpartition("(")[2].rstrip(")").split("/")[0].removesuffix(".py")


def shares(title: str, counts: Counter[str], total: int) -> Table:
    """Return the table of the largest counts, as shares of all the samples."""
    table = Table("%", title)
    for name, count in counts.most_common(MAX_ROWS):
        table.add_row(f"{100 * count / total:.1f}", Text(name))
    return table
