"""Feedback with a correction as a case: added to a file whose comments and formatting stay."""

from io import StringIO
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.scalarstring import LiteralScalarString

from acme_evals.cases import load
from acme_evals.errors import InvalidInput


def case_of(corrected: dict[str, Any], judge: bool) -> dict[str, Any]:
    """Build a case of a question and the answer that a person wanted."""
    feedback = corrected["feedback"]
    metadata = {
        "run": corrected["run_id"],
        "agent": feedback["agent"],
        "version": feedback["version"] or feedback["digest"],
        "reasons": feedback["reasons"],
        "comment": feedback["comment"],
    }
    rubric = "The output says the same as the expected output, and nothing that contradicts it."
    evaluator: Any = {"LLMJudge": {"rubric": rubric, "include_input": True, "include_expected_output": True}}
    return {
        "name": f"feedback {corrected['run_id']}",
        "inputs": {"messages": [text(corrected["message"])], "agent": corrected["agent"]},
        "metadata": {name: value for name, value in metadata.items() if value},
        "expected_output": text(feedback["correction"]),
        "evaluators": [evaluator if judge else {"Contains": text(feedback["correction"])}],
    }


def text(value: str) -> str:
    """Return a text as YAML writes it best: several lines as a block."""
    return LiteralScalarString(value) if "\n" in value else value


def add_case(path: Path, case: dict[str, Any]) -> bool:
    """Add a case to a file, or begin one; return False where it is there already. Raises InvalidInput."""
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 10_000
    yaml.indent(mapping=2, sequence=4, offset=2)
    document: Any = {"cases": []}
    if path.exists():
        names = {one.name for one in load(path).cases}
        if case["name"] in names:
            return False
        document = yaml.load(path.read_text(encoding="utf-8"))
    document["cases"].append(case)
    written = StringIO()
    yaml.dump(document, written)
    try:
        path.write_text(written.getvalue(), encoding="utf-8")
    except OSError as error:
        raise InvalidInput(f"{path}: cannot be written: {error}") from error
    return True
