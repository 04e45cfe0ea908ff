"""What became of the cases, alone and against a baseline: the exit code of CI."""

from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_evals.reporting import EvaluationReport, EvaluationReportAdapter, ReportCase

from acme_evals.cases import Cases
from acme_evals.errors import InvalidInput

Report = EvaluationReport[Any, Any, Any]
Case = ReportCase[Any, Any, Any]


def load_report(path: Path) -> Report:
    """Read a report that `--json` has written; raises InvalidInput."""
    try:
        return EvaluationReportAdapter.validate_json(path.read_bytes())
    except OSError as error:
        raise InvalidInput(f"{path}: cannot be read: {error}") from error
    except ValidationError as error:
        raise InvalidInput(f"{path}: is no report of `evals run --json`; write a new one") from error


def names_of(cases: Cases) -> list[str]:
    """Return what reports call the cases."""
    return [case.name or f"Case {number}" for number, case in enumerate(cases.cases, 1)]


def absent_cases(cases: Cases, baseline: Report, path: Path) -> list[str]:
    """Describe the cases of a baseline that are not run; raises InvalidInput where it has none that is."""
    compared = [case.name for case in baseline.cases] + [failure.name for failure in baseline.failures]
    names = set(names_of(cases))
    if names.isdisjoint(compared):
        raise InvalidInput(f"{path}: has none of the cases; it is the report of others, or they were renamed")
    return [f"{name}: in the baseline alone, not compared" for name in compared if name not in names]


def has_passed(case: Case) -> bool:
    """Return whether all assertions of a case hold, and no evaluator failed."""
    return not case.evaluator_failures and all(one.value for one in case.assertions.values())


def share_passed(report: Report) -> float:
    """Return the share of the cases that passed."""
    passed = sum(map(has_passed, report.cases))
    return passed / (len(report.cases) + len(report.failures))


def problems_of(report: Report) -> list[str]:
    """Describe each case that failed, and why."""
    failed = [
        f"{case.name}: {name}: {result.reason or 'it is not so'}"
        for case in report.cases
        for name, result in case.assertions.items()
        if not result.value
    ]
    broken = [
        f"{case.name}: {one.name} could not judge: {one.error_message}"
        for case in report.cases
        for one in case.evaluator_failures
    ]
    return [*failed, *broken, *(f"{one.name}: {one.error_message}" for one in report.failures)]


def regressions(report: Report, baseline: Report, tolerance: float) -> list[str]:
    """Describe what was better in the baseline: assertions that held, scores higher than the tolerance."""
    current = {case.name: case for case in report.cases}
    failures = {failure.name for failure in report.failures}
    worse = list[str]()
    for before in baseline.cases:
        now = current.get(before.name)
        if now is not None:
            worse += case_regressions(now, before, tolerance)
        elif before.name in failures and has_passed(before):
            worse.append(f"{before.name}: answered before, and fails now")
    return worse


def case_regressions(now: Case, before: Case, tolerance: float) -> list[str]:
    """Describe what was better before in one case."""
    lost = [
        f"{now.name}: {name} held before"
        for name, result in now.assertions.items()
        if not result.value and name in before.assertions and before.assertions[name].value
    ]
    lower = [
        f"{now.name}: {name} was {before.scores[name].value:g}, is {result.value:g}"
        for name, result in now.scores.items()
        if name in before.scores and result.value < before.scores[name].value * (1 - tolerance)
    ]
    return lost + lower
