"""An evaluation: the cases, their report, and what it took."""

import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import httpx
from acme_client import AcmeClient, ApiError
from acme_client.credentials import Credentials
from pydantic_evals.dataset import Case
from pydantic_evals.reporting import EvaluationReportAdapter, ReportCase
from rich.console import Console

from acme_evals import comparison
from acme_evals.cases import Cases, Inputs
from acme_evals.comparison import Report
from acme_evals.errors import UNUSABLE, InvalidInput, unusable
from acme_evals.judge import JudgeUsage, judging
from acme_evals.task import RunSpans, Target

JUDGES = frozenset({"LLMJudge", "GEval"})


@dataclass(frozen=True)
class Options:
    """How cases are run."""

    url: str
    agent: str
    judge: str
    concurrency: int
    timeout_seconds: float
    retries: int


async def evaluate(cases: Cases, options: Options, credentials: Credentials) -> Report:
    """Run all cases, and report what came of them; raises InvalidInput."""
    if needs_judge(cases) and not options.judge:
        raise InvalidInput("Cases are judged by a model. Name one of /v1 with --judge, or an agent.")
    async with connected(options.url, credentials) as client, httpx.AsyncClient(timeout=60) as http:
        await check_access(client, options.url)
        target = Target(client, options.agent, options.timeout_seconds, options.retries)
        token = partial(credentials.access_token, http, options.url)
        async with judging(client, options.url, options.judge, token) as usage:
            report: Report = await cases.evaluate(
                target.answer,
                name=options.agent,
                max_concurrency=options.concurrency,
                progress=False,
                lifecycle=progress_of(len(cases.cases)),
            )
    report.experiment_metadata = metadata_of(report, options, target.costs, usage if options.judge else None)
    return report


@asynccontextmanager
async def connected(url: str, credentials: Credentials) -> AsyncIterator[AcmeClient]:
    """Connect a client, whose session, if it began one, ends with it."""
    async with AcmeClient(url, credentials) as client:
        try:
            yield client
        finally:
            with suppress(ApiError, httpx.TransportError):
                await client.sign_out()


async def check_access(client: AcmeClient, url: str) -> None:
    """Verify once that somebody answers and lets us in; raises InvalidInput."""
    try:
        await client.runs(limit=1)
    except UNUSABLE as error:
        raise unusable(url, error) from error


def needs_judge(cases: Cases) -> bool:
    """Return whether an evaluator asks a model that the file does not name."""
    evaluators = [*cases.evaluators, *(one for case in cases.cases for one in case.evaluators)]
    return any(type(one).__name__ in JUDGES and getattr(one, "model", None) is None for one in evaluators)


def progress_of(total: int) -> Callable[[Case[Inputs, Any, Any]], RunSpans]:
    """Return what prints a line for each case that ends."""
    finished = iter(range(1, total + 1))

    class Printed(RunSpans):
        async def teardown(self, result: Any) -> None:
            if result is None:
                return
            is_passed = isinstance(result, ReportCase) and comparison.has_passed(result)
            line = f"{next(finished)}/{total} {'✓' if is_passed else '✗'} {result.name}"
            print(line, file=sys.stderr, flush=True)  # noqa: T201  # it is for people

    return Printed


def metadata_of(
    report: Report, options: Options, costs: list[int | None], judge: JudgeUsage | None
) -> dict[str, Any]:
    """Return whom the report is about, and what it cost; the judge's cost apart."""
    known = [cost for cost in costs if cost is not None]
    versions = {short(version) for case in report.cases for version in case.attributes.get("versions", [])}
    return {
        "url": options.url,
        "agent": options.agent,
        "versions": sorted(versions),
        "runs_cost_usd": sum(known) / 1_000_000 if len(known) == len(costs) else None,
        "judge": judge.summary() if judge else None,
    }


def short(version: str) -> str:
    """Shorten the digest of a version, as people compare them."""
    name, _, digest = version.partition("@sha256:")
    return f"{name}@{digest[:12]}" if digest else version


def print_report(console: Console, report: Report, baseline: Report | None) -> None:
    """Print the table, or the difference to the baseline, and below it what all of it cost."""
    metadata = report.experiment_metadata or {}
    # Without metadata: its panel would be wider than the table.
    before = baseline and replace(baseline, experiment_metadata=None)
    replace(report, experiment_metadata=None).print(console=console, baseline=before)
    lines = [
        f"Versions: {', '.join(metadata['versions'])}",
        f"Cost of the runs: {dollars(metadata['runs_cost_usd'])}",
    ]
    if judge := metadata["judge"]:
        tokens = f"{judge['input_tokens']} + {judge['output_tokens']} tokens in {judge['requests']} requests"
        lines.append(f"Cost of the judge ({judge['model']}): {dollars(judge['cost_usd'])}, {tokens}")
    for line in lines:
        console.print(line, soft_wrap=True, highlight=False, markup=False)


def dollars(cost: float | None) -> str:
    """Write a cost to a millionth of a dollar; one that is not known says so."""
    return "not known" if cost is None else f"${cost:.6f}"


def write_report(report: Report, path: Path) -> None:
    """Write a report for `--baseline`; raises InvalidInput."""
    try:
        path.write_bytes(EvaluationReportAdapter.dump_json(report, indent=2) + b"\n")
    except OSError as error:
        raise InvalidInput(f"{path}: cannot be written: {error}") from error
