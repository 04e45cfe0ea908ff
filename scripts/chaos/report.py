"""What is printed at the end."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from rich.console import Console
from rich.table import Table
from starter_cli.events import RunEvent
from starter_cli.progress import say

from scripts.chaos import checks, received
from scripts.chaos.clients import Listener
from scripts.chaos.ledger import NAMES, Counted, Ledger, counted
from scripts.chaos.verification import Evidence

SHOWN = 15


def print_all(console: Console, runs: Sequence[Evidence], ledger: Ledger) -> bool:
    """Print the report, and tell whether nothing was lost."""
    wrong = {run.listener: checks.of(run) for run in runs}
    listeners = [run.listener for run in runs]
    say(console, "")
    say(console, described(runs))
    say(console, connected(listeners))
    console.print(table_of_checks(wrong.values()))
    console.print(table_of_usage(runs))
    say(console, in_ledger(ledger))
    lost = sorted((run for run in runs if wrong[run.listener]), key=lambda run: -len(wrong[run.listener]))
    for run in lost[:SHOWN]:
        say(console, f"✗ {complaint(run, wrong[run.listener])}", "red")
    if len(lost) > SHOWN:
        say(console, f"  and {len(lost) - SHOWN} runs more", "red")
    return not lost and not ledger.difference


def complaint(run: Evidence, wrong: Mapping[str, int]) -> str:
    """Say what is wrong with a run."""
    why = [run.unread, str(run.run.get("error_code") or ""), run.listener.gave_up]
    known = f" ({', '.join(filter(None, why))})" if any(why) else ""
    found = "; ".join(f"{name}: {amount}" for name, amount in wrong.items())
    ends = f"heard to {last(run.listener.events)}, log to {last(run.log)}"
    return f"run {run.listener.run_id or run.listener.message}{known}: {found} ({ends})"


def last(events: Sequence[RunEvent]) -> str:
    """Name the last of some events."""
    return f"{events[-1].id} {events[-1].type}" if events else "nothing"


def described(runs: Sequence[Evidence]) -> str:
    """Say what became of the runs."""
    ends = Counter(run.status for run in runs)
    failures = Counter(str(run.run["error_code"]) for run in runs if run.status == "failed")
    resumed = [received.resumptions(run.listener.events) for run in runs]
    still_open = sum(not run.listener.is_over for run in runs)
    return (
        f"runs         {len(runs)} asked for: {in_words(ends)}"
        + (f" ({in_words(failures)})" if failures else "")
        + f"; {still_open} not heard to the end; {sum(map(bool, resumed))} resumed, {sum(resumed)} times"
    )


def connected(listeners: Sequence[Listener]) -> str:
    """Say how often clients had to come back."""
    refused = sum((listener.refusals for listener in listeners), Counter[str]())
    gave_up = Counter(listener.gave_up for listener in listeners if listener.gave_up)
    again = sum(max(listener.connections - 1, 0) for listener in listeners)
    return (
        f"connections  {sum(listener.breaks for listener in listeners)} broken, {again} made again; "
        f"told to come again: {in_words(refused) or 'never'}; told not to: {in_words(gave_up) or 'never'}"
    )


def table_of_checks(wrong: Iterable[Mapping[str, int]]) -> Table:
    """Show every check, with how much is wrong and with how many runs."""
    table = Table("check", "wrong", "in runs", box=None, pad_edge=False, header_style="dim")
    all_wrong = list(wrong)
    for name in [*checks.ALWAYS, *checks.COMPLETED]:
        amounts = [its[name] for its in all_wrong if name in its]
        table.add_row(name, str(sum(amounts)), str(len(amounts)), style="red" if amounts else "")
    return table


def table_of_usage(runs: Sequence[Evidence]) -> Table:
    """Show what was used, by the runs' own count and by the model's: tokens in / out."""
    columns = ("tokens in / out", "runs", "used", "estimated", "model answered", "and broke off")
    table = Table(*columns, box=None, pad_edge=False, header_style="dim")
    undisturbed = [run for run in runs if run.is_undisturbed]
    disturbed = [run for run in runs if not run.is_undisturbed]
    table.add_row("undisturbed", *cells(counted(undisturbed)))
    table.add_row("disturbed", *cells(counted(disturbed)))
    return table


def cells(sums: Counted) -> list[str]:
    """Write the sums of some runs."""
    pairs = (sums.used, sums.estimated, sums.answered, sums.broken_off)
    return [str(sums.runs), *(f"{into} / {out}" for into, out in pairs)]


def in_ledger(ledger: Ledger) -> str:
    """Say whether the ledger says what the runs say."""
    if not ledger.difference:
        return f"ledger       the same as the runs: {in_words(ledger.entered, NAMES)}"
    return f"ledger       {in_words(ledger.entered, NAMES)}; the runs: {in_words(ledger.of_runs, NAMES)}"


def in_words(amounts: Mapping[str, int], names: Sequence[str] | None = None) -> str:
    """Write amounts in a row."""
    return ", ".join(f"{amounts[name]} {name}" for name in names or amounts)
