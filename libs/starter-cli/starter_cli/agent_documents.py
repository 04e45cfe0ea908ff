"""Files of agents: YAML 1.2 of which all is JSON, written so that readers of YAML 1.1 understand the same."""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, JsonValue, ValidationError
from pydantic_core import ErrorDetails
from ruamel.yaml import YAML
from ruamel.yaml.constructor import ConstructorError, SafeConstructor
from ruamel.yaml.error import YAMLError
from ruamel.yaml.nodes import ScalarNode
from servicekit.validation_errors import parameter_name, place_of

from starter_cli.errors import Failure

Json = dict[str, Any]
# Where it is said of an agent of a list that it is wrong.
PLACE = re.compile(r"^( *)agents\[(\d+)\]\.?(?:definition\.)?(?=\w)", re.MULTILINE)
# NUL, and halves of surrogate pairs: what no service stores.
UNSTORABLE = re.compile("[\0\ud800-\udfff]")
# Line breaks of YAML 1.1: a block would not keep them.
OTHER_BREAKS = re.compile("[\x85\u2028\u2029]")
# Numbers of YAML 1.2 that are texts in 1.1.
NUMBER = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|0o[0-7]+")


class Document(BaseModel):
    """An agent in a file; the service validates the rest."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    name: str
    note: str = ""
    definition: dict[str, JsonValue]


class AgentFile(BaseModel):
    """What a file is made of."""

    model_config = ConfigDict(extra="forbid")

    agents: list[Document]


class JsonConstructor(SafeConstructor):
    """Makes texts of dates, which JSON does not have, and refuses texts that cannot be stored."""

    def construct_scalar(self, node: Any) -> Any:
        """Return a scalar as it is written; raises ConstructorError."""
        if isinstance(node, ScalarNode) and UNSTORABLE.search(node.value):
            problem = "a text must not contain NUL or unpaired surrogates"
            raise ConstructorError(problem=problem, problem_mark=node.start_mark)
        return super().construct_scalar(node)


JsonConstructor.add_constructor("tag:yaml.org,2002:timestamp", SafeConstructor.construct_yaml_str)


class ReadableDumper(yaml.SafeDumper):
    """Writes texts of several lines as blocks, and quotes what any YAML takes for something else."""


def represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    """Return a text in the form in which it is read again."""
    style = '"' if OTHER_BREAKS.search(text) or NUMBER.fullmatch(text) else "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


ReadableDumper.add_representer(str, represent_text)


def write(documents: Iterable[Mapping[str, Any]]) -> str:
    """Return a file of these agents."""
    return yaml.dump({"agents": [*documents]}, Dumper=ReadableDumper, sort_keys=False, allow_unicode=True)


def read(path: Path) -> list[Json]:
    """Read the agents of a file; raises Failure."""
    loader = YAML(typ="safe", pure=True)
    loader.Constructor = JsonConstructor
    try:
        content = loader.load(path.read_bytes())
    except (YAMLError, UnicodeError, ValueError, RecursionError) as error:
        raise Failure(str(path), f"this is not YAML: {error}") from error
    try:
        return [one.model_dump(exclude_unset=True) for one in AgentFile.model_validate(content).agents]
    except ValidationError as error:
        problems = [describe(problem, content) for problem in error.errors()]
        reason = name_agents("\n  ".join(["this is no file of agents:", *problems]), names_of(content))
        raise Failure(str(path), reason) from error


def describe(problem: ErrorDetails, content: object) -> str:
    """Return what is wrong within a file, with its path."""
    path = parameter_name(place_of({**problem, "loc": ("body", *problem["loc"])}, content)) or "the file"
    is_key = problem["loc"][-1:] == ("[key]",)
    return f"{path}: {'A name must be a text: put it in quotes.' if is_key else problem['msg']}"


def names_of(content: object) -> list[str]:
    """Return what the agents of a file are called, as far as it can be told."""
    agents = content.get("agents") if isinstance(content, dict) else None
    return [
        str(one.get("name", f"agents[{index}]")) if isinstance(one, dict) else f"agents[{index}]"
        for index, one in enumerate(agents if isinstance(agents, list) else [])
    ]


def name_agents(text: str, names: Sequence[str]) -> str:
    """Name agents at the beginnings of lines, in place of where they stand in a list."""
    return PLACE.sub(lambda place: f"{place[1]}{names[int(place[2])]}: ", text)
