"""Files of agents: what is read of difficult YAML, and what is refused with its place."""

from pathlib import Path
from typing import Any

import pytest
from starter_cli import agent_documents
from starter_cli.errors import Failure

START = "agents:\n  - name: support\n    definition:\n      "


def read(folder: Path, text: str) -> dict[str, Any]:
    """Return the definition of a file of one agent."""
    path = folder / "agents.yaml"
    path.write_text(START + text, encoding="utf-8")
    (agent,) = agent_documents.read(path)
    definition: dict[str, Any] = agent["definition"]
    return definition


@pytest.mark.parametrize(
    ("text", "definition"),
    [
        ("enum: [no, on, off, yes]", {"enum": ["no", "on", "off", "yes"]}),
        ("variables: {no: {default: 12:30}}", {"variables": {"no": {"default": "12:30"}}}),
        ("default: 2026-11-29", {"default": "2026-11-29"}),
        ("default: 2026-11-29T12:00:00Z", {"default": "2026-11-29T12:00:00Z"}),
        ("a: [1e3, 0x10, 0o17, 007, ~]", {"a": [1000.0, 16, 15, 7, None]}),
        ("a: [true, True, null]", {"a": [True, True, None]}),
        ('a: ["1e3", \'0x10\', "no"]', {"a": ["1e3", "0x10", "no"]}),
        ("a: |\n        one\n          two \n\n        three\n", {"a": "one\n  two \n\nthree\n"}),
    ],
)
def test_what_is_written_is_read(tmp_path: Path, text: str, definition: dict[str, Any]) -> None:
    assert read(tmp_path, text) == definition


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a: 1\n      a: 2", 'found duplicate key "a"'),
        ("1: a", "support: definition[1]: A name must be a text"),
        ("a: {b: !!binary aGk=}", "support: a.b: input was not a valid JSON value"),
        ("a: [.nan]", "support: a[0]: Input should be a finite number"),
        ("a: 1e400", "support: a: Input should be a finite number"),
        ("a: &a [*a]", "support: a[0]: Recursion error"),
        ('a: "\\ud83d"', "unpaired surrogates"),
        ('a: "\\0"', "NUL"),
        ("a: !secret b", "!secret"),
    ],
)
def test_what_is_no_json_is_refused_with_its_place(tmp_path: Path, text: str, reason: str) -> None:
    with pytest.raises(Failure) as failure:
        read(tmp_path, text)
    assert str(tmp_path / "agents.yaml") in str(failure.value)
    assert reason in str(failure.value)


def test_what_is_no_text_in_other_versions_of_yaml_is_quoted() -> None:
    texts = ["no", "on", "1e3", "0o17", "0x10", "007", "12:30", "2026-11-29", "null", "~", "a\x85b"]
    written = agent_documents.write([{"name": "support", "definition": {"starters": texts}}])
    lines = [line.strip() for line in written.splitlines() if line.strip().startswith("- ")][1:]
    assert [line[2] in "'\"" for line in lines] == [True] * len(texts)
