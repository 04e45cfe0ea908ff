"""The tools of a server: what is pinned of them, and under which names models call them."""

import hashlib
import re
from collections.abc import Iterator, Sequence
from typing import Any, Literal, Self

import orjson
from agents.exceptions import UserError
from mcp.shared.inbound import find_invalid_x_mcp_header
from pydantic import BaseModel, Field

from chat_agent.mcp_servers.messages import Json
from chat_agent.model.schema_validation import measure_schema
from chat_agent.schemas import storable_json

MAX_NAME = 128
MAX_DESCRIPTION = 8000
MAX_SCHEMA = 30_000
# Of a tool, as models call it.
MAX_CALLABLE = 64
NOT_CALLABLE = re.compile("[^a-zA-Z0-9_-]")
PROPERTY = re.compile("[a-zA-Z0-9_.-]{1,64}")
# What models refuse at the top level of a tool's schema.
COMPOSED = ("anyOf", "oneOf", "allOf", "not", "enum", "$ref")


class ServerTool(BaseModel):
    """A tool of an MCP server."""

    name: str
    title: str = ""
    description: str = ""
    input_schema: dict[str, Any] = Field(default_factory=dict)
    annotations: dict[str, Any] = Field(default_factory=dict)
    digest: str
    problem: str | None = Field(None, description="Why agents are not offered it.")

    @classmethod
    def read(cls, tool: Json) -> Self:
        """Return a tool as a server lists it; one that cannot be used says why, and nothing else."""
        name = tool.get("name")
        safe_name = NOT_CALLABLE.sub("_", name[:MAX_NAME]) if isinstance(name, str) else "?"
        try:
            problem = next(problems(tool), None)
            digest = digest_of({one: tool.get(one) for one in ("name", *PINNED)})
        except (TypeError, ValueError, RecursionError, UserError):
            return cls(name=safe_name, digest=digest_of(None), problem="It cannot be stored.")
        if problem is not None:
            return cls(name=safe_name, digest=digest, problem=problem)
        return cls(
            name=tool["name"],
            title=tool.get("title") or "",
            description=tool.get("description") or "",
            input_schema=tool["inputSchema"],
            annotations=tool.get("annotations") or {},
            digest=digest,
        )

    @property
    def is_idempotent(self) -> bool:
        """Whether the server says that a repeated call changes nothing."""
        return any(self.annotations.get(hint) is True for hint in ("readOnlyHint", "idempotentHint"))

    def callable_name(self, server: str) -> str:
        """Return the name by which models call it."""
        return callable_name(server, self.name)


def callable_name(server: str, tool: str) -> str:
    """Return the name by which models call a tool: that of its server comes first."""
    name = f"{server}__{NOT_CALLABLE.sub('_', tool)}"
    if len(name) <= MAX_CALLABLE and name == f"{server}__{tool}":
        return name
    # Two names of a server may differ in what is replaced or cut off.
    return f"{name[: MAX_CALLABLE - 9]}_{hashlib.sha256(tool.encode()).hexdigest()[:8]}"


# What a model reads of a tool, and what decides whether a call is repeated.
PINNED = ("title", "description", "inputSchema", "annotations")


def problems(tool: Json) -> Iterator[str]:
    """Yield why agents cannot be offered a tool."""
    storable_json(tool)
    name, description, schema = tool.get("name"), tool.get("description") or "", tool.get("inputSchema")
    if not isinstance(name, str) or not 0 < len(name) <= MAX_NAME:
        yield f"Its name is not a text of 1 to {MAX_NAME} characters."
    texts = (description, tool.get("title") or "")
    if not all(isinstance(text, str) and len(text) <= MAX_DESCRIPTION for text in texts):
        yield f"Its description is not a text of at most {MAX_DESCRIPTION} characters."
    if not isinstance(tool.get("annotations") or {}, dict):
        yield "Its annotations are not an object."
    if is_task(tool):
        yield "It can only be called as a task, which agents do not do."
    yield from schema_problems(schema)


def is_task(tool: Json) -> bool:
    """Return whether a server refuses calls of a tool that wait for its result (2025-11-25)."""
    execution = tool.get("execution")
    return isinstance(execution, dict) and execution.get("taskSupport") == "required"


def schema_problems(schema: object) -> Iterator[str]:
    """Yield why a schema cannot be that of a tool's arguments."""
    if not isinstance(schema, dict) or schema.get("type") != "object":
        yield "Its schema is not that of an object."
        return
    if len(orjson.dumps(schema)) > MAX_SCHEMA:
        yield f"Its schema has more than {MAX_SCHEMA} bytes."
        return
    try:
        measure_schema(schema)
    except ValueError:
        yield "Its schema is no JSON schema, or refers to another document."
    if taken := [word for word in COMPOSED if word in schema]:
        yield f"Its schema has {taken[0]!r} at the top level, which models do not take."
    if find_invalid_x_mcp_header(schema):
        yield "Its schema names a header for an argument that cannot be one."
    if not all(PROPERTY.fullmatch(name) for name in schema.get("properties") or {}):
        yield "Its schema has a property whose name models do not take."


class ToolChange(BaseModel):
    """How a tool differs from what was confirmed."""

    tool: str
    change: Literal["added", "removed", "changed"]
    before: ServerTool | None = None
    after: ServerTool | None = None


def read_tools(tools: Sequence[Json]) -> list[ServerTool]:
    """Return the tools of a list, sorted by name; one whose name comes twice cannot be used."""
    read = sorted((ServerTool.read(tool) for tool in tools), key=lambda tool: tool.name)
    names = [tool.name for tool in read]
    twice = {name for name in names if names.count(name) > 1}
    unique = {tool.name: tool for tool in read}
    return [
        tool.model_copy(update={"problem": "There is more than one tool of this name."})
        if tool.name in twice
        else tool
        for tool in unique.values()
    ]


def digest_of(value: object) -> str:
    """Return the digest of a JSON value, whatever the order of its members."""
    return f"sha256:{hashlib.sha256(orjson.dumps(value, option=orjson.OPT_SORT_KEYS)).hexdigest()}"


def digest_of_tools(tools: Sequence[ServerTool]) -> str:
    """Return the digest of a list of tools, by which it is confirmed."""
    return digest_of({tool.name: tool.digest for tool in tools})


def changes_between(before: Sequence[ServerTool], after: Sequence[ServerTool]) -> list[ToolChange]:
    """Return how a list of tools differs from one before."""
    old, new = {tool.name: tool for tool in before}, {tool.name: tool for tool in after}
    changes = []
    for name in sorted(old.keys() | new.keys()):
        was, is_ = old.get(name), new.get(name)
        if was is None or is_ is None or was.digest != is_.digest:
            word = "added" if was is None else "removed" if is_ is None else "changed"
            changes.append(
                ToolChange.model_validate({"tool": name, "change": word, "before": was, "after": is_})
            )
    return changes
