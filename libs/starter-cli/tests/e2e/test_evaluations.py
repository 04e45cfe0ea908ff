"""Evaluations: cases run against a whole stack, compared, judged, and made of what people correct."""

import json
import re
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml
from starter_cli.stack import Stack

from .conftest import Acme, Person

TIME = "What time is it in Europe/Berlin?"


def write(folder: Path, *cases: dict[str, Any]) -> Path:
    path = folder / "cases.yaml"
    path.write_text(yaml.safe_dump({"cases": [*cases]}, sort_keys=False))
    return path


def case(name: str, inputs: Any, *evaluators: Any) -> dict[str, Any]:
    return {"name": name, "inputs": inputs, "evaluators": [*evaluators]}


@pytest.fixture
def evals(acme: Acme, stack: Stack) -> Acme:
    return partial(acme, "evals", ACME_DATA=str(stack.data_dir.root))


def test_commands_leave_no_session(
    acme: Acme, stack: Stack, owner: Person, evals: Acme, tmp_path: Path
) -> None:
    def sessions() -> set[str]:
        return {one["id"] for one in owner.http.get("/api/v1/auth/sessions").json()["items"]}

    before = sessions()
    done = [
        evals("run", write(tmp_path, case("time", TIME, {"CalledTools": ["current_time"]}))),
        acme("agents", "export", "--data", stack.data_dir.root),
    ]
    assert [one.returncode for one in done] == [0, 0], done
    assert before
    assert sessions() <= before


def test_cases_see_tools_handoffs_and_cost_and_a_baseline_what_got_worse(evals: Acme, tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    good = case("time", TIME, {"CalledTools": ["current_time"]}, {"MaxCost": 1}, {"HandedOver": []})
    bad = case("other", "Hello", {"CalledTools": ["current_time"]}, {"MaxCost": 0.0000001})
    done = evals("run", write(tmp_path, good), "--json", report)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1/1 ✓ time" in done.stderr
    assert "100.0% of 1 cases passed." in done.stdout
    document = json.loads(report.read_text())
    [stored], metadata = document["cases"], document["experiment_metadata"]
    assert stored["attributes"]["tools"] == ["current_time"]
    assert stored["attributes"]["agents"] == ["triage"]
    assert metadata["versions"][0].startswith("triage@")
    assert metadata["runs_cost_usd"] == stored["metrics"]["cost_usd"] > 0
    assert f"Cost of the runs: ${metadata['runs_cost_usd']:.6f}" in done.stdout
    done = evals("run", write(tmp_path, good, bad), "--fail-under", "0.5", "--baseline", report)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "✗ other: CalledTools: called no tools" in done.stdout
    assert re.search(r"✗ other: MaxCost: \$0\.00\d+", done.stdout)
    assert evals("run", write(tmp_path, good, bad)).returncode == 1
    worse = write(tmp_path, {**good, "inputs": "Hello"}, bad)
    done = evals("run", worse, "--fail-under", "0", "--baseline", report)
    assert done.returncode == 1
    assert "↓ time: CalledTools held before" in done.stdout


def test_a_run_that_fails_or_waits_fails_its_case(evals: Acme, tmp_path: Path, owner: Person) -> None:
    path = write(
        tmp_path,
        case("fails", "Hello [sandbox: error=401]"),
        case("waits", "Forget it [sandbox: call=forget_conversation]"),
    )
    done = evals("run", path)
    assert done.returncode == 1
    assert "model_authentication_failed" in done.stdout
    assert "it waits for an approval of forget_conversation" in done.stdout
    [run_id] = re.findall(r"✗ waits: .*run ([0-9a-f-]{36})", done.stdout)
    assert owner.http.get(f"/api/v1/runs/{run_id}").json()["status"] == "cancelled"


def test_the_cost_of_the_judge_is_apart(evals: Acme, tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    path = write(tmp_path, case("polite", "Hello", {"LLMJudge": "The answer is polite."}))
    assert "--judge" in evals("run", path).stderr
    done = evals("run", path, "--judge", "triage", "--json", report)
    metadata = json.loads(report.read_text())["experiment_metadata"]
    judge = metadata["judge"]
    assert (judge["model"], judge["requests"]) == ("triage", 1)
    assert judge["cost_usd"] > 0
    assert judge["cost_usd"] != metadata["runs_cost_usd"]
    assert f"Cost of the judge (triage): ${judge['cost_usd']:.6f}" in done.stdout
    assert "could not judge" not in done.stdout


def test_a_corrected_answer_becomes_a_case(evals: Acme, tmp_path: Path, owner: Person) -> None:
    path = tmp_path / "cases.yaml"
    path.write_text("# Ours.\ncases:\n  - name: first  # stays\n    inputs: Hello\n")
    answer = owner.http.post("/api/v1/chat", json={"message": "What is 2 + 2?"}).json()
    correction = {"rating": "down", "correction": "It is 4."}
    feedback = owner.http.put(f"/api/v1/runs/{answer['run_id']}/feedback", json=correction)
    assert feedback.status_code == 200
    added = ("add-feedback", path, "--run", answer["run_id"], "--agent", "triage", "--no-judge")
    assert evals(*added).returncode == 0
    text = path.read_text()
    assert text.startswith("# Ours.\ncases:\n  - name: first  # stays\n    inputs: Hello\n")
    [_, new] = yaml.safe_load(text)["cases"]
    assert new["inputs"] == {"messages": ["What is 2 + 2?"], "agent": "triage"}
    assert new["expected_output"] == "It is 4."
    assert evals(*added).returncode == 0
    assert path.read_text() == text
    done = evals("run", path, "--fail-under", "0.5")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "does not contain expected string" in done.stdout
    found = evals("add-feedback", tmp_path / "new.yaml", "--run", answer["run_id"])
    assert found.returncode == 0, found.stderr
    [new] = yaml.safe_load((tmp_path / "new.yaml").read_text())["cases"]
    assert "LLMJudge" in new["evaluators"][0]
    missing = evals("add-feedback", path, "--run", answer["conversation_id"])
    assert (missing.returncode, "no feedback on the run" in missing.stderr) == (2, True)
