"""What is wrong with a definition, each with its path in the document."""

from collections.abc import Container, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from agents import FunctionTool, UserError
from agents.strict_schema import ensure_strict_json_schema

from chat_agent.agent_definitions.definition import AgentDefinition, ToolUse, placeholders
from chat_agent.agent_definitions.tool_names import tool_name_problems
from chat_agent.agents import AGENTS
from chat_agent.agents.tools import TOOLS
from chat_agent.direct_models import DirectModels, find_model, names_for
from chat_agent.documents import DefinitionProblem, schema_problem
from chat_agent.guardrails.config import models_of
from chat_agent.guardrails.model_based import qualified_name
from chat_agent.http_tools.versions import ToolVersion
from chat_agent.mcp_servers.agent_tools import mcp_problems
from chat_agent.mcp_servers.registered import RegisteredServer
from chat_agent.model.schema_validation import SchemaValidator

# What other agents are: of each name the versions that answer.
Others = Mapping[str, Sequence[AgentDefinition]]


# The tools of the tenant, each with the newest version first.
OwnTools = Mapping[str, Sequence[ToolVersion]]


@dataclass(frozen=True)
class Surroundings:
    """What a tenant's definition may name."""

    tenant_id: UUID
    models: DirectModels
    others: Others
    mcp_servers: Mapping[str, RegisteredServer]
    tools: OwnTools = field(default_factory=dict)


def tools_by_name() -> dict[str, FunctionTool]:
    """Return the tools that definitions may name."""
    return {tool.name: tool for tools in TOOLS.values() for tool in tools}


def problems_of(name: str, definition: AgentDefinition, around: Surroundings) -> list[DefinitionProblem]:
    """List what is wrong with a definition; nothing where it may be published."""
    checks = (
        variable_problems(definition),
        model_problems(definition, around),
        tool_problems(definition, around.tools),
        tool_name_problems(definition, around.mcp_servers),
        mcp_problems(definition.mcp, around.mcp_servers),
        reference_problems(name, definition, around.others),
        cycle_problems(name, definition, around.others),
        schema_problems(definition.output_schema),
        guardrail_problems(definition, around),
    )
    return [DefinitionProblem(path=path, message=message) for check in checks for path, message in check]


Found = Iterator[tuple[str, str]]


def variable_problems(definition: AgentDefinition) -> Found:
    """Yield variables that are not declared, and defaults of another type."""
    for name in dict.fromkeys(placeholders(definition.instructions)):
        if name not in definition.variables:
            yield "instructions", f"There is no variable called {name!r}."
    for name, variable in definition.variables.items():
        if variable.default is not None and not variable.accepts(variable.default):
            yield f"variables.{name}.default", f"The value is not of the type {variable.type}."


def model_problems(definition: AgentDefinition, around: Surroundings) -> Found:
    """Yield models that the tenant may not use."""
    named = [("model", definition.model)] if definition.model else []
    named += [(f"fallbacks[{index}]", model) for index, model in enumerate(definition.fallbacks)]
    for path, model in named:
        if find_model(around.models, around.tenant_id, model, "chat") is None:
            yield path, no_model(model, around)
    if definition.fallbacks and definition.model is None:
        yield "fallbacks", "Name the model that these stand in for."


def guardrail_problems(definition: AgentDefinition, around: Surroundings) -> Found:
    """Yield models of guardrails that the tenant may not use."""
    for path, model in models_of(definition.guardrails):
        if find_model(around.models, around.tenant_id, qualified_name(model), "chat") is None:
            yield f"guardrails.{path}", no_model(model, around)


def no_model(name: str, around: Surroundings) -> str:
    """Return the sentence about a model that the tenant may not use."""
    names = names_for(around.models, around.tenant_id, "chat")
    listed = f"There are: {', '.join(names)}." if names else "The operator allows none: leave it out."
    return f"There is no model called {name!r} that this tenant may use. {listed}"


def tool_problems(definition: AgentDefinition, own: OwnTools) -> Found:
    """Yield tools that are unknown, and approvals that are not the author's to drop."""
    known = tools_by_name()
    for index, use in enumerate(definition.tools):
        path = f"tools[{index}]"
        version = version_of(use, own)
        tool = version or (known.get(use.name) if use.digest is None else None)
        if use.name not in known and use.name not in own:
            names = ", ".join((*known, *own))
            yield f"{path}.name", f"There is no tool called {use.name!r}. There are: {names}."
        elif tool is None:
            yield f"{path}.digest", f"The tool {use.name!r} has no such version."
        elif use.approval == "never" and tool.needs_approval:
            yield f"{path}.approval", f"The tool {use.name!r} always needs an approval."


def version_of(use: ToolUse, own: OwnTools) -> ToolVersion | None:
    """Return the version of a tool of the tenant that is meant, where there is one."""
    versions = [one for one in own.get(use.name, ()) if use.digest in {None, one.digest}]
    return versions[0] if versions else None


def reference_problems(name: str, definition: AgentDefinition, others: Others) -> Found:
    """Yield agents that do not exist or have no published version, and those named twice."""
    for member, names in (("handoffs", definition.handoffs), ("as_tools", definition.as_tools)):
        for index, other in enumerate(names):
            path = f"{member}[{index}]"
            if other not in AGENTS and other not in others and other != name:
                yield path, f"There is no agent called {other!r} with a published version."
            if other in names[:index]:
                yield path, f"The agent {other!r} is named twice."
            if other == name and member == "handoffs":
                yield path, "An agent cannot hand over to itself."


def cycle_problems(name: str, definition: AgentDefinition, others: Others) -> Found:
    """Yield agents called as tools that lead back to their caller; such calls might never end.

    Handoffs alone may go in circles: they take turns of one run, whose number is limited.
    """
    graph: Others = {**others, name: [definition]}
    circle = ways_from(name, graph).keys() & leading_to(name, graph)
    for index, tool in enumerate(definition.as_tools):
        if tool in circle:
            steps = " → ".join((name, *ways_from(tool, graph)[name]))
            yield f"as_tools[{index}]", f"The agent would call itself: {steps}."
    elsewhere = {one: versions for one, versions in graph.items() if one in circle - {name}}
    calls = [*calls_in(circle, elsewhere)]
    for index, other in enumerate(definition.handoffs if calls else ()):
        reached = ways_from(other, elsewhere)
        for caller, tool in [call for call in calls if call[0] in reached][:1]:
            yield f"handoffs[{index}]", f"{caller} calls {tool} as a tool, and this would lead back to it."


def calls_in(circle: Container[str], graph: Others) -> Iterator[tuple[str, str]]:
    """Yield the agents that call one of a circle as a tool, and which."""
    for caller, versions in graph.items():
        for version in versions:
            yield from ((caller, tool) for tool in version.as_tools if tool in circle)


def leading_to(end: str, graph: Others) -> set[str]:
    """Return the agents that reach an agent, and itself."""
    callers: dict[str, set[str]] = {}
    for one, versions in graph.items():
        for other in {other for version in versions for other in version.neighbours}:
            callers.setdefault(other, set()).add(one)
    found, open_ = {end}, [end]
    while open_:
        new = callers.get(open_.pop(), set()) - found
        found |= new
        open_ += new
    return found


def ways_from(start: str, graph: Others) -> dict[str, list[str]]:
    """Return the way to each agent that an agent reaches."""
    ways, open_ = {start: [start]}, [start]
    while open_:
        one = open_.pop(0)
        for definition in graph.get(one, ()):
            for other in definition.neighbours:
                if other not in ways:
                    ways[other] = [*ways[one], other]
                    open_.append(other)
    return ways


def schema_problems(schema: dict[str, Any] | None) -> Found:
    """Yield why a schema cannot be enforced by a provider."""
    if schema is None:
        return
    try:
        SchemaValidator(schema)
        strict_schema(schema)
    except (ValueError, TypeError, UserError, RecursionError) as error:
        path, reason = schema_problem("output_schema", error)
        yield path, f"The schema cannot be strict: {reason}"
        return
    if schema.get("type") != "object":
        yield "output_schema.type", "An answer is an object: the type must be `object`."


def strict_schema(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a schema as providers enforce it: closed objects, all properties required."""
    return ensure_strict_json_schema(deepcopy(schema))
