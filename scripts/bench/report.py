"""What was measured, as tables: every system beside the others, and in proportion to two of them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from itertools import groupby

from rich.console import Console
from rich.table import Table

from scripts.bench.rows import Row

REFERENCES = ("floor", "agno")
GROUPS = ("services", "gateway", "databases")


def print_table(rows: Sequence[Row], console: Console) -> None:
    """Print all tables."""
    console.print(measured_table(rows))
    console.print(compared(rows))
    for row in rows:
        for reason, times in row.failures.items():
            console.print(f"{row.system}, {load_of(row)}: {times} failed: {reason}", style="red")


def measured_table(rows: Sequence[Row]) -> Table:
    """Return the table of what each load took on each system."""
    table = Table(title="Times in ms, CPU in ms a turn, memory in MB a stream")
    for column in ("load", "system", "first token p50/p99", "token delay p50/p99", "turn p50/p99"):
        table.add_column(column, justify="left" if column in {"load", "system"} else "right")
    for column in ("turns/s", "CPU", *GROUPS, "memory", "others", "failed"):
        table.add_column(column, justify="right")
    for load, group in by_load(rows):
        for row in group:
            table.add_row(load, row.system, *cells(row))
        table.add_section()
    return table


def cells(row: Row) -> Iterator[str]:
    """Write down one row."""
    for spread in (row.first_token, row.token_delay, row.whole):
        yield f"{number(spread.p50)} / {number(spread.p99)}"
    yield f"{row.turns_per_second:.1f}"
    yield number(row.cpu)
    yield from (number(row.cpu_by_group.get(group)) for group in GROUPS)
    yield f"{row.memory_kb_per_stream / 1024:.2f}"
    yield f"{row.machine_taken_by_others:.0%}"
    yield f"{row.failed} of {row.turns}"


def compared(rows: Sequence[Row]) -> Table:
    """Return the table of each system in proportion to the references."""
    table = Table(title="In proportion (token delay: ms more)")
    table.add_column("load")
    table.add_column("system")
    for reference in REFERENCES:
        for column in ("first token", "token delay", "turns/s", "CPU"):
            table.add_column(f"{column}\nto {reference}", justify="right")
    for load, group in by_load(rows):
        for row, ratios in group_ratios(group):
            table.add_row(load, row.system, *(cell for one in REFERENCES for cell in proportion(ratios, one)))
        table.add_section()
    return table


def proportion(ratios: Mapping[str, Mapping[str, float | None]], reference: str) -> Iterator[str]:
    """Write down how one row compares with one reference."""
    found = ratios.get(reference, {})
    for name in ("first_token_p50", "token_delay_p50", "turns_per_second", "cpu"):
        value = found.get(name)
        unit = "+.1f" if name == "token_delay_p50" else ".2f"
        yield "" if value is None else f"{value:{unit}}"


def group_ratios(group: Sequence[Row]) -> Iterator[tuple[Row, dict[str, dict[str, float | None]]]]:
    """Compare the rows of one load with the references among them."""
    references = [row for row in group if row.system in REFERENCES]
    for row in group:
        yield row, {other.system: ratio(row, other) for other in references if other is not row}


def ratio(row: Row, other: Row) -> dict[str, float | None]:
    """Compare two rows of one load: quotients, and for the delay of tokens the difference."""
    late, others = row.token_delay.p50, other.token_delay.p50
    return {
        "first_token_p50": quotient(row.first_token.p50, other.first_token.p50),
        "first_token_p99": quotient(row.first_token.p99, other.first_token.p99),
        "token_delay_p50": None if late is None or others is None else late - others,
        "turns_per_second": quotient(row.turns_per_second, other.turns_per_second),
        "cpu": quotient(row.cpu, other.cpu),
    }


def print_parts(rows: Sequence[Row], console: Console) -> None:
    """Print which process has spent what of a turn's CPU time."""
    names = list(dict.fromkeys(name for row in rows for name in row.cpu_by_part))
    table = Table("load", *names, title="CPU by process, ms a turn")
    for row in rows:
        table.add_row(load_of(row), *(number(row.cpu_by_part.get(name)) for name in names))
    console.print(table)


def as_json(rows: Sequence[Row]) -> list[dict[str, object]]:
    """Return all rows with their proportions, for a file."""
    return [
        {**asdict(row), "compared_with": ratios}
        for _, group in by_load(rows)
        for row, ratios in group_ratios(group)
    ]


def by_load(rows: Sequence[Row]) -> Iterator[tuple[str, list[Row]]]:
    """Put together what had the same load: those at the model's rate first, then those without delay."""

    def key(row: Row) -> tuple[bool, int]:
        return not row.rate, row.streams

    for _, group in groupby(sorted(rows, key=key), key):
        same = list(group)
        yield load_of(same[0]), same


def load_of(row: Row) -> str:
    """Describe a load."""
    return f"{row.streams} at {row.rate:g}/s" if row.rate else f"{row.streams}, no delay"


def quotient(value: float | None, other: float | None) -> float | None:
    """Divide what is there."""
    return value / other if value is not None and other else None


def number(value: float | None) -> str:
    """Write a number with as many digits as mean something."""
    if value is None:
        return "-"
    return f"{value:.1f}" if abs(value) < 100 else f"{value:.0f}"
