"""Agents in files: planned, published all or none, and written again from what answers."""

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from starter_cli.stack import Stack

from .conftest import Acme, Person

SALES: dict[str, Any] = {
    "name": "sales",
    "definition": {
        "instructions": "You sell.\nYou are brief.",
        "handoffs": ["code_assistant", "returns"],
    },
}
RETURNS: dict[str, Any] = {
    "name": "returns",
    "note": "for sales alone",
    "definition": {"instructions": "You take things back.", "visibility": "internal", "handoffs": ["sales"]},
}


def write(folder: Path, *agents: dict[str, Any]) -> Path:
    path = folder / "agents.yaml"
    path.write_text(yaml.safe_dump({"agents": [*agents]}))
    return path


def test_a_file_is_planned_published_and_exported(
    acme: Acme, stack: Stack, owner: Person, tmp_path: Path
) -> None:
    path, data = write(tmp_path, SALES, RETURNS), ("--data", stack.data_dir.root)
    refused = acme("agents", "apply", "-f", path, *data)
    assert refused.returncode != 0
    assert "+ sales: create" in refused.stdout
    assert owner.http.get("/api/v1/agents/sales").status_code == 404
    applied = acme("agents", "apply", "-f", path, "--yes", *data)
    assert (applied.returncode, "Published: sales, returns." in applied.stdout) == (0, True), applied
    answer = owner.http.post("/api/v1/chat", json={"message": "Hello", "agent_type": "sales"})
    assert answer.json()["agent_used"] == "sales"
    again = acme("agents", "apply", "-f", path, "--yes", *data)
    assert (again.returncode, "Nothing changes." in again.stdout) == (0, True), again
    exported = acme("agents", "export", *data)
    assert exported.returncode == 0, exported.stderr
    assert "    instructions: |-\n      You sell.\n      You are brief.\n" in exported.stdout
    agents = {agent["name"]: agent["definition"] for agent in yaml.safe_load(exported.stdout)["agents"]}
    for agent in (SALES, RETURNS):
        assert agents[agent["name"]].items() >= agent["definition"].items()
    path.write_text(exported.stdout)
    same = acme("agents", "apply", "-f", path, "--yes", *data)
    assert (same.returncode, "Nothing changes." in same.stdout) == (0, True), same


def test_a_change_is_printed_and_a_problem_named_by_its_path(
    acme: Acme, stack: Stack, neighbour: Person, tmp_path: Path
) -> None:
    token = neighbour.http.headers["Authorization"].removeprefix("Bearer ")
    environment = {"ACME_URL": stack.gateway_url, "ACME_TOKEN": token}

    def apply(*agents: dict[str, Any]) -> subprocess.CompletedProcess[str]:
        path = write(tmp_path, *agents)
        return acme("agents", "apply", "--yes", "-f", path, **environment)

    assert apply({"name": "sales", "definition": {"instructions": "You sell."}}).returncode == 0
    changed = apply({"name": "sales", "definition": {"instructions": "You buy."}})
    assert "~ sales: update" in changed.stdout
    assert "instructions: 'You sell.' -> 'You buy.'" in changed.stdout
    wrong = apply({"name": "sales", "definition": {"instructions": "You buy.", "handoffs": ["nobody"]}})
    assert wrong.returncode == 1
    assert "sales: handoffs[0]: There is no agent called 'nobody'" in wrong.stdout + wrong.stderr
    limits = {"turns": 0, "seconds": 0}
    wrong = apply({"name": "sales", "definition": {"instructions": "You buy.", "limits": limits}})
    for member in limits:
        assert f"sales: limits.{member}: Input should be greater" in wrong.stdout + wrong.stderr


NO_FILES = [
    "agents: [",
    "agents: {}",
    "agents: [{name: a}]",
    "- a",
    "agents: [{name: a, definition: {}, x: 1}]",
]


@pytest.mark.parametrize("text", NO_FILES)
def test_what_is_no_file_of_agents_is_refused(acme: Acme, tmp_path: Path, text: str) -> None:
    path = tmp_path / "agents.yaml"
    path.write_text(text)
    refused = acme("agents", "apply", "-f", path)
    assert refused.returncode == 1
    assert str(path) in (refused.stdout + refused.stderr).replace("\n", "")
