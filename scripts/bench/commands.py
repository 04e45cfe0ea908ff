"""The commands of `python -m scripts.bench`."""

import argparse
import json
import platform
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import uvloop
from rich.console import Console
from starter_cli import signals
from starter_cli.errors import Failure

from scripts.bench import environments, profile, report, rows
from scripts.bench.rows import Load, Row
from scripts.bench.systems import SYSTEMS, System

INTERRUPTED = 130
WARM_UP_TURNS = 40
WARM_UP_STREAMS = 8


def main(words: Sequence[str] | None = None) -> None:
    """Run from the command line."""
    options, console = parse_arguments(words), Console(width=None if sys.stdout.isatty() else 180)
    measured: list[Row] = []
    code = 0
    with signals.interrupt_once():
        try:
            for name in options.systems:
                with skip_on_failure(console), running_system(name, console) as system:
                    uvloop.run(measure_system(system, options, console, measured))
        except KeyboardInterrupt:
            print_line(console, "interrupted; everything is stopped")
            code = INTERRUPTED
    if measured:
        report_results(measured, options, console)
    sys.exit(code or {row.system for row in measured} != set(options.systems))


def parse_arguments(words: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m scripts.bench", description=__doc__)
    chat = parser.add_subparsers(dest="command", required=True).add_parser(
        "chat",
        help="one turn of chat, streamed, on every system",
        description="Measure one turn of chat, streamed, on every system, one after the other.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    chat.add_argument("--systems", type=systems, default=",".join(SYSTEMS), help="which, in this order")
    chat.add_argument("--streams", type=counts, default="1,50,200,500", help="streams at once, row by row")
    chat.add_argument("--tokens", type=int, default=200, help="tokens of an answer")
    chat.add_argument("--rate", type=float, default=40, help="tokens a second that the model says")
    chat.add_argument("--turns", type=int, default=10, help="turns of a row, at least one a stream")
    chat.add_argument("--ramp", type=float, default=2, help="seconds over which streams are begun")
    chat.add_argument("--flat-out", type=int, default=200, help="turns of the row without delay; 0: none")
    chat.add_argument("--flat-out-streams", type=int, default=16, help="streams at once of that row")
    chat.add_argument("--timeout", type=float, default=120, help="seconds after which a turn has failed")
    chat.add_argument("--profile", action="store_true", help="say where Acme's CPU time goes, too")
    chat.add_argument("--profile-seconds", type=int, default=15, help="for how long chat-agent is sampled")
    chat.add_argument("--json", type=Path, metavar="FILE", help="write down all that was measured")
    return parser.parse_args(words)


def systems(text: str) -> list[str]:
    """Read names of systems."""
    names = text.split(",")
    if unknown := [name for name in names if name not in SYSTEMS]:
        raise argparse.ArgumentTypeError(f"there is no {unknown[0]!r}; there are {', '.join(SYSTEMS)}")
    return names


def counts(text: str) -> list[int]:
    """Read numbers of streams."""
    numbers = [int(word) for word in text.split(",")]
    if not all(0 < number <= 2000 for number in numbers):
        raise argparse.ArgumentTypeError("streams are 1 to 2000")
    return numbers


@contextmanager
def running_system(name: str, console: Console) -> Iterator[System]:
    """Run a system in a folder of its own."""
    print_line(console, f"{name}: starting", "bold")
    with tempfile.TemporaryDirectory(prefix="acme-bench-") as folder:
        # As root, Postgres is somebody else, who has to pass through; so all is gone with the folder.
        Path(folder).chmod(0o711)
        with SYSTEMS[name](Path(folder)) as system:
            print_line(console, f"{name}: {system.description}")
            yield system
            print_line(console, f"{name}: stopping")


@contextmanager
def skip_on_failure(console: Console) -> Iterator[None]:
    """Print why a system does not start or could not be measured, and go on with the next."""
    try:
        yield
    except (Failure, OSError, RuntimeError) as error:
        print_line(console, f"left out: {error}", style="red")


async def measure_system(
    system: System, options: argparse.Namespace, console: Console, measured: list[Row]
) -> None:
    """Warm a system up, and put every load on it."""
    print_line(console, f"{system.name}: warming up")
    await rows.measure(system, Load(WARM_UP_STREAMS, WARM_UP_TURNS, options.tokens, 0))
    print_line(
        console, f"{system.name}: {await rows.measure_idle(system.parts):.1f} ms of CPU a second while idle"
    )
    for load in loads(options):
        print_line(console, f"{system.name}: {load.streams} streams, {load.prompt}")
        row = await rows.measure(system, load)
        measured.append(row)
        print_line(
            console, f"{system.name}: {row.turns_per_second:.1f} turns/s, {row.cpu:.1f} ms of CPU a turn"
        )
    if options.profile and system.name == "acme":
        await profile_chat(system, options, console)


def loads(options: argparse.Namespace) -> Iterator[Load]:
    """List what every system is asked for."""
    for streams in options.streams:
        yield Load(streams, options.turns, options.tokens, options.rate, options.ramp, options.timeout)
    if options.flat_out:
        yield unthrottled_load(options)


def unthrottled_load(options: argparse.Namespace) -> Load:
    """Return the load that starts each turn when the one before has ended."""
    return Load(options.flat_out_streams, options.flat_out, options.tokens, rate=0, timeout=options.timeout)


async def profile_chat(system: System, options: argparse.Namespace, console: Console) -> None:
    """Sample chat-agent while it does what it can."""
    print_line(console, f"{system.name}: sampling chat-agent for {options.profile_seconds} s")
    folder = environments.FOLDER / "profile"
    folder.mkdir(parents=True, exist_ok=True)
    samples = await profile.record(
        system, "chat-agent", unthrottled_load(options), options.profile_seconds, folder
    )
    profile.show(samples, console)
    print_line(console, f"all samples: {samples}")


def report_results(measured: Sequence[Row], options: argparse.Namespace, console: Console) -> None:
    """Print what was measured, and write it down."""
    report.print_table(measured, console)
    if options.profile:
        report.print_parts([row for row in measured if row.system == "acme"], console)
    if options.json:
        about = {
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
            "machine": f"{platform.platform()}, Python {platform.python_version()}",
            "options": {name: str(value) for name, value in vars(options).items()},
        }
        options.json.write_text(json.dumps({**about, "rows": report.as_json(measured)}, indent=2) + "\n")
        print_line(console, f"written to {options.json}")


def print_line(console: Console, sentence: str, style: str = "dim") -> None:
    """Print a line with the time."""
    console.print(f"{time.strftime('%H:%M:%S')} {sentence}", style=style, highlight=False, markup=False)
