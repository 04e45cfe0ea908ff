"""Files of cases: what is wrong in them is named by its place, and editors get a schema."""

import json
from pathlib import Path

import jsonschema_rs
import pytest
import yaml
from acme_evals.cases import load
from acme_evals.cli import app
from acme_evals.comparison import absent_cases, load_report
from typer.testing import CliRunner

SAMPLE = Path(__file__).resolve().parents[3] / "docs" / "examples" / "agents.cases.yaml"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("cases: [", "is not YAML"),
        ("- a", "must be a mapping with `cases`"),
        ("cases: []", "cases: there is none"),
        ("cases: [{name: a}]", "cases[0].inputs: Field required"),
        ("cases: [{inputs: x, expect: y}]", "cases[0].expect: Extra inputs are not permitted"),
        ("cases: [{inputs: {messages: []}}]", "cases[0].inputs.Messages.messages: List should have"),
        ("cases: [{name: a, inputs: x}, {name: a, inputs: y}]", "Duplicate case name: 'a'"),
        ("cases: [{inputs: x}, {inputs: x, evaluators: [Foo]}]", "cases[1].evaluators[0]: no evaluator is"),
        ("cases: [{inputs: x}]\nevaluators: [{MaxCost: {eur: 1}}]", "evaluators[0].MaxCost: "),
        ("cases: [{inputs: x, evaluators: [{MaxCost: cheap}]}]", "cases[0].evaluators[0]: these arguments"),
        ("cases: [{inputs: x, evaluators: [{MatchesSchema: {schema: {type: odd}}}]}]", "MatchesSchema: "),
    ],
)
def test_what_is_wrong_is_named_by_its_place(tmp_path: Path, text: str, problem: str) -> None:
    path = tmp_path / "cases.yaml"
    path.write_text(text)
    result = CliRunner().invoke(app, ["run", str(path), "--token", "x"])
    assert result.exit_code == 2
    assert f"{path}: " in result.stderr
    assert problem in result.stderr


def test_what_is_missing_is_bad_input(tmp_path: Path) -> None:
    path, report = tmp_path / "cases.yaml", tmp_path / "report.json"
    path.write_text("cases: [{inputs: x}]")
    report.write_text("{}")
    for arguments, problem in (
        (["run", str(path)], "ACME_TOKEN"),
        (["run", str(tmp_path / "none.yaml"), "--token", "x"], "cannot be read"),
        (["run", str(path), "--token", "x", "--baseline", str(report)], "is no report"),
        (["run", str(path), "--token", "x", "--url", "http://127.0.0.1:9"], "http://127.0.0.1:9: "),
    ):
        result = CliRunner().invoke(app, arguments)
        assert (result.exit_code, problem in result.stderr) == (2, True), result.stderr


def report_of(*names: str) -> str:
    """Return a report as `--json` writes it."""
    empty: dict[str, object] = {
        name: {} for name in ("scores", "labels", "assertions", "metrics", "attributes", "inputs")
    }
    case = {**empty, "output": "x", "task_duration": 1, "total_duration": 1}
    unset = dict.fromkeys(("metadata", "expected_output"))
    return json.dumps({"name": "triage", "cases": [{**case, **unset, "name": name} for name in names]})


def test_a_baseline_of_other_cases_is_bad_input_and_not_a_success(tmp_path: Path) -> None:
    path, report = tmp_path / "cases.yaml", tmp_path / "report.json"
    path.write_text("cases: [{name: time, inputs: x}]")
    report.write_text(report_of("colour", "Case 2"))
    result = CliRunner().invoke(app, ["run", str(path), "--token", "x", "--baseline", str(report)])
    assert (result.exit_code, f"{report}: has none of the cases" in result.stderr) == (2, True), result.stderr


def test_cases_of_a_baseline_that_are_not_run_are_named(tmp_path: Path) -> None:
    path, report = tmp_path / "cases.yaml", tmp_path / "report.json"
    path.write_text("cases: [{name: time, inputs: x}, {inputs: y}]")
    report.write_text(report_of("time", "Case 2", "colour"))
    absent = absent_cases(load(path), load_report(report), report)
    assert absent == ["colour: in the baseline alone, not compared"]


def test_editors_get_a_schema_beside_the_file(tmp_path: Path) -> None:
    path = tmp_path / "agents.yaml"
    path.write_text(SAMPLE.read_text())
    for _ in range(2):
        assert CliRunner().invoke(app, ["schema", str(path)]).exit_code == 0
    assert path.read_text() == f"# yaml-language-server: $schema=agents_schema.json\n{SAMPLE.read_text()}"
    schema = json.loads((tmp_path / "agents_schema.json").read_text())
    jsonschema_rs.validate(schema, yaml.safe_load(path.read_text()))
