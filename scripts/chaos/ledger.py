"""The usage ledger against the runs, and the runs against the model."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from scripts.chaos.checks import USAGE_FIELDS
from scripts.chaos.clients import Client
from scripts.chaos.verification import RunRecord

SETTLE_SECONDS = 45
NAMES = ("requests", *USAGE_FIELDS)
Totals = Mapping[str, int]


@dataclass(frozen=True)
class Ledger:
    """What the ledger says, and what the runs say that it should."""

    recorded: Totals
    expected: Totals

    @property
    def difference(self) -> int:
        """By how much they differ, in all."""
        return sum(abs(self.recorded[name] - self.expected[name]) for name in NAMES)


async def read_ledger(client: Client, runs: Sequence[RunRecord]) -> Ledger:
    """Wait a while for the ledger to say what the runs do."""
    expected = {name: sum(run.run.get("usage", {}).get(name, 0) for run in runs) for name in NAMES}
    deadline = time.monotonic() + SETTLE_SECONDS
    while True:
        answer = await client.get(f"/api/v1/billing/tenants/{client.tenant_id}/usage")
        ledger = Ledger(answer.json()["totals"], expected)
        if not ledger.difference or time.monotonic() > deadline:
            return ledger
        await asyncio.sleep(1)


@dataclass(frozen=True)
class UsageTotals:
    """Tokens in and out, of some runs: by their own count, what of it is an estimate, and by the model's."""

    runs: int
    used: tuple[int, int]
    estimated: tuple[int, int]
    answered: tuple[int, int]
    broken_off: tuple[int, int]


def sum_usage(runs: Sequence[RunRecord]) -> UsageTotals:
    """Sum up some runs."""
    usages = [run.run.get("usage", {}) for run in runs]
    calls = [call for run in runs for call in run.calls]
    whole = [call["usage"] for call in calls if call["status"] == "completed"]
    cut = [call for call in calls if call["status"] != "completed"]

    def both(prefix: str) -> tuple[int, int]:
        into, out = (
            sum(usage.get(f"{prefix}{side}_tokens", 0) for usage in usages) for side in ("input", "output")
        )
        return into, out

    return UsageTotals(
        runs=len(runs),
        used=both(""),
        estimated=both("estimated_"),
        answered=(sum(each["input"] for each in whole), sum(each["output"] for each in whole)),
        broken_off=(sum(call["usage"]["input"] for call in cut), sum(call["tokens_sent"] for call in cut)),
    )
