"""Files of cases: read, checked with the place of what is wrong, and their JSON schema for editors."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import jsonschema_rs
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_evals import Dataset
from pydantic_evals.evaluators import common
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from acme_evals.errors import InvalidInput
from acme_evals.evaluators import EVALUATORS

MAX_FILE = 10 * 1024 * 1024
SCHEMA_LINE = "# yaml-language-server: $schema="
NAMES = sorted({one.__name__ for one in (*common.DEFAULT_EVALUATORS, *EVALUATORS)})


class Messages(BaseModel):
    """What a case sends, where that is more than one message to the agent of the command line."""

    model_config = ConfigDict(extra="forbid")

    messages: Annotated[list[str], Field(min_length=1)]
    agent: str | None = None
    variables: dict[str, str | int | float | bool] = {}


Inputs = str | Messages
Cases = Dataset[Inputs, Any, Any]


def load(path: Path) -> Cases:
    """Read a file of cases; raises InvalidInput."""
    data = read_yaml(path)
    problems = [*find_problems(data)]
    try:
        cases = Cases.from_dict(data, custom_evaluator_types=EVALUATORS, default_name=path.stem)
    except ValidationError as error:
        problems += [f"{place_of(one['loc'])}: {one['msg']}" for one in error.errors()]
    except (ValueError, TypeError, ExceptionGroup) as error:  # a name that is there twice, or named above
        problems = problems or [reason_of(error)]
    problems = problems or [*find_misfits(data)]
    if not problems and not cases.cases:
        problems = ["cases: there is none; add one with `name` and `inputs`"]
    if problems:
        raise InvalidInput("\n".join(f"{path}: {problem}" for problem in problems))
    return cases


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML document that is a mapping; raises InvalidInput."""
    try:
        if path.stat().st_size > MAX_FILE:
            raise InvalidInput(f"{path}: the file is larger than 10 MB; split it")
        data = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{path}: cannot be read: {error}") from error
    except YAMLError as error:
        raise InvalidInput(f"{path}: is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(data, dict):
        raise InvalidInput(f"{path}: must be a mapping with `cases`")
    return data


def find_problems(data: dict[str, Any]) -> Iterator[str]:
    """Yield what is wrong with each evaluator, and where; the rest is pydantic-evals' to say."""
    yield from problems_of(data.get("evaluators"), "evaluators")
    cases = data.get("cases")
    for number, case in enumerate(cases if isinstance(cases, list) else []):
        if isinstance(case, dict):
            yield from problems_of(case.get("evaluators"), f"cases[{number}].evaluators")


def problems_of(evaluators: Any, place: str) -> Iterator[str]:
    """Yield what is wrong with the evaluators of one list."""
    for number, one in enumerate(evaluators if isinstance(evaluators, list) else []):
        name = next(iter(one), None) if isinstance(one, dict) else one
        if name not in NAMES:
            yield f"{place}[{number}]: no evaluator is called {name!r}; there are {', '.join(NAMES)}"
            continue
        try:
            alone = {"name": "x", "cases": [{"inputs": "x", "evaluators": [one]}]}
            Cases.from_dict(alone, custom_evaluator_types=EVALUATORS)
        except (ValueError, TypeError, ExceptionGroup) as error:
            yield f"{place}[{number}].{name}: {reason_of(error)}"


def find_misfits(data: dict[str, Any]) -> Iterator[str]:
    """Yield which evaluators have arguments of another type than they take."""
    for error in jsonschema_rs.validator_for(json_schema()).iter_errors(data):
        place = place_of(tuple(error.instance_path))
        yield f"{place}: these arguments do not fit; `evals schema` writes a schema that says what does"


def json_schema() -> dict[str, Any]:
    """Return the JSON schema of files of cases."""
    # Those that replace evaluators of pydantic-evals take what these take.
    own = [one for one in EVALUATORS if not issubclass(one, common.DEFAULT_EVALUATORS)]
    return Cases.model_json_schema_with_evaluators(custom_evaluator_types=own)


def reason_of(error: BaseException) -> str:
    """Return why an evaluator cannot be built, in one line."""
    while isinstance(error, ExceptionGroup) or error.__cause__ is not None:
        error = error.exceptions[0] if isinstance(error, ExceptionGroup) else error.__cause__ or error
    if isinstance(error, ValidationError):
        return "; ".join(f"{place_of(one['loc'])}: {one['msg']}" for one in error.errors())
    return " ".join(str(error).split())


def place_of(location: tuple[int | str, ...]) -> str:
    """Write the place in a document as `cases[3].inputs`."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location)
    return text.removeprefix(".")


def write_schema(path: Path) -> Path:
    """Write the JSON schema of files of cases beside one, and name it in the file's first line.

    Raises InvalidInput.
    """
    schema = path.with_name(f"{path.stem}_schema.json")
    try:
        schema.write_text(json.dumps(json_schema(), indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise InvalidInput(f"{schema}: cannot be written: {error.strerror}") from error
    if path.exists() and SCHEMA_LINE not in (text := path.read_text(encoding="utf-8")):
        path.write_text(f"{SCHEMA_LINE}{schema.name}\n{text}", encoding="utf-8")
    return schema
