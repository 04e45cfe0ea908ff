"""What is printed at the end."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from rich.console import Console
from rich.table import Table
from starter_cli.events import RunEvent
from starter_cli.progress import print_line

from scripts.chaos import checks, received
from scripts.chaos.clients import RunClient
from scripts.chaos.ledger import NAMES, Ledger, UsageTotals, sum_usage
from scripts.chaos.verification import RunRecord

MAX_LISTED = 15


def print_report(console: Console, runs: Sequence[RunRecord], ledger: Ledger) -> bool:
    """Print the report, and tell whether nothing was lost."""
    wrong = {run.run_client: checks.find_errors(run) for run in runs}
    clients = [run.run_client for run in runs]
    print_line(console, "")
    print_line(console, describe_runs(runs))
    print_line(console, describe_connections(clients))
    console.print(checks_table(wrong.values()))
    console.print(usage_table(runs))
    print_line(console, describe_ledger(ledger))
    lost = sorted((run for run in runs if wrong[run.run_client]), key=lambda run: -len(wrong[run.run_client]))
    for run in lost[:MAX_LISTED]:
        print_line(console, f"✗ {describe_errors(run, wrong[run.run_client])}", "red")
    if len(lost) > MAX_LISTED:
        print_line(console, f"  and {len(lost) - MAX_LISTED} runs more", "red")
    return not lost and not ledger.difference


def describe_errors(run: RunRecord, wrong: Mapping[str, int]) -> str:
    """Describe what is wrong with a run."""
    why = [run.unread, str(run.run.get("error_code") or ""), run.run_client.gave_up]
    known = f" ({', '.join(filter(None, why))})" if any(why) else ""
    found = "; ".join(f"{name}: {amount}" for name, amount in wrong.items())
    ends = f"client to {last_event(run.run_client.events)}, log to {last_event(run.log)}"
    return f"run {run.run_client.run_id or run.run_client.message}{known}: {found} ({ends})"


def last_event(events: Sequence[RunEvent]) -> str:
    """Name the last of some events."""
    return f"{events[-1].id} {events[-1].type}" if events else "nothing"


def describe_runs(runs: Sequence[RunRecord]) -> str:
    """Describe the outcomes of the runs."""
    ends = Counter(run.status for run in runs)
    failures = Counter(str(run.run["error_code"]) for run in runs if run.status == "failed")
    resumed = [received.count_resumptions(run.run_client.events) for run in runs]
    still_open = sum(not run.run_client.has_ended for run in runs)
    return (
        f"runs         {len(runs)} asked for: {format_amounts(ends)}"
        + (f" ({format_amounts(failures)})" if failures else "")
        + f"; {still_open} not received to the end; {sum(map(bool, resumed))} resumed, {sum(resumed)} times"
    )


def describe_connections(clients: Sequence[RunClient]) -> str:
    """Describe how often clients had to reconnect."""
    refused = sum((client.refusals for client in clients), Counter[str]())
    gave_up = Counter(client.gave_up for client in clients if client.gave_up)
    again = sum(max(client.connections - 1, 0) for client in clients)
    return (
        f"connections  {sum(client.breaks for client in clients)} broken, {again} made again; "
        f"refused for now: {format_amounts(refused) or 'never'}; "
        f"refused for good: {format_amounts(gave_up) or 'never'}"
    )


def checks_table(wrong: Iterable[Mapping[str, int]]) -> Table:
    """Return the table of all checks, with how much is wrong and with how many runs."""
    table = Table("check", "wrong", "in runs", box=None, pad_edge=False, header_style="dim")
    all_wrong = list(wrong)
    for name in [*checks.ALWAYS, *checks.COMPLETED]:
        amounts = [its[name] for its in all_wrong if name in its]
        table.add_row(name, str(sum(amounts)), str(len(amounts)), style="red" if amounts else "")
    return table


def usage_table(runs: Sequence[RunRecord]) -> Table:
    """Return the table of tokens in / out, by the runs' own count and by the model's."""
    columns = ("tokens in / out", "runs", "used", "estimated", "model answered", "and broke off")
    table = Table(*columns, box=None, pad_edge=False, header_style="dim")
    undisturbed = [run for run in runs if run.is_undisturbed]
    disturbed = [run for run in runs if not run.is_undisturbed]
    table.add_row("undisturbed", *cells(sum_usage(undisturbed)))
    table.add_row("disturbed", *cells(sum_usage(disturbed)))
    return table


def cells(sums: UsageTotals) -> list[str]:
    """Write the sums of some runs."""
    pairs = (sums.used, sums.estimated, sums.answered, sums.broken_off)
    return [str(sums.runs), *(f"{into} / {out}" for into, out in pairs)]


def describe_ledger(ledger: Ledger) -> str:
    """Describe whether the ledger equals the runs."""
    if not ledger.difference:
        return f"ledger       the same as the runs: {format_amounts(ledger.recorded, NAMES)}"
    recorded, expected = format_amounts(ledger.recorded, NAMES), format_amounts(ledger.expected, NAMES)
    return f"ledger       {recorded}; the runs: {expected}"


def format_amounts(amounts: Mapping[str, int], names: Sequence[str] | None = None) -> str:
    """Write amounts in a row."""
    return ", ".join(f"{amounts[name]} {name}" for name in names or amounts)
