"""Makes agents of the SDK from a selection: the same for the first attempt of a run and for every other."""

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from uuid import UUID

from agents import Agent, FunctionTool, Model, Tool

from chat_agent.agent_definitions.definition import PLACEHOLDER, AgentDefinition, ToolUse
from chat_agent.agent_definitions.selection import AgentSelection
from chat_agent.agent_definitions.validation import strict_schema, tools_by_name
from chat_agent.agent_definitions.variables import Values
from chat_agent.agents import AGENTS
from chat_agent.agents.acme_agent import AcmeAgent
from chat_agent.agents.approvals import with_approval
from chat_agent.agents.tool import RunContext, agent_tool
from chat_agent.direct_models import find_model
from chat_agent.errors import ModelNotFound
from chat_agent.guardrails.config import AgentGuardrails
from chat_agent.guardrails.model_based import qualified_name
from chat_agent.http_tools.call import function_tool
from chat_agent.http_tools.definition import HttpTool
from chat_agent.mcp_servers.access import McpAccess
from chat_agent.mcp_servers.agent_tools import mcp_tools
from chat_agent.model.output_schema import RequestedOutput
from chat_agent.model.request import ChosenSettings
from chat_agent.runs.options import OutputFormat
from chat_agent.schemas import VariableValue
from chat_agent.settings import Settings

logger = logging.getLogger(__name__)

# HTTP tools of the tenant by digest.
OwnTools = Mapping[str, HttpTool]
Graph = dict[str, Agent[RunContext]]
# The first of these models, in whose place the others answer.
BuildModel = Callable[[Sequence[str]], Model]
# Guards the model and the tools of an agent, with models that its guardrails name.
GuardAgent = Callable[[Agent[RunContext], AgentGuardrails, Callable[[str], Model]], None]


class AgentBuilder:
    """Builds the agents of one tenant's runs."""

    def __init__(
        self, settings: Settings, build_model: BuildModel, mcp: McpAccess, guard_agent: GuardAgent
    ) -> None:
        self._settings = settings
        self._mcp = mcp
        self._build_model = build_model
        self._guard_agent = guard_agent

    def build(self, tenant_id: UUID | None, selection: AgentSelection, values: Values) -> Graph:
        """Return the agents of a selection by name; raises ModelNotFound."""
        graph: Graph = {
            name: self._build_one(tenant_id, name, definition, values, selection.tools)
            for name, definition in selection.definitions.items()
        }
        graph = {**AGENTS, **graph}
        for name, definition in selection.definitions.items():
            agent = graph[name]
            agent.handoffs = [*self._reached(definition.handoffs, graph, name)]
            callees = self._reached(definition.as_tools, graph, name)
            remote = mcp_tools(definition.mcp, selection.mcp_servers, self._mcp)
            agent.tools = [*agent.tools, *remote, *(agent_tool(one) for one in callees)]
            if definition.guardrails is not None:
                self._guard_agent(agent, definition.guardrails, partial(self._judge, tenant_id))
        return graph

    def _judge(self, tenant_id: UUID | None, name: str) -> Model:
        """Return the model that a guardrail names; raises ModelNotFound."""
        return self._build_model([self.model_name(tenant_id, qualified_name(name))])

    def model_name(self, tenant_id: UUID | None, name: str) -> str:
        """Return what the provider calls a model; raises ModelNotFound where a tenant may not use it."""
        model = find_model(self._settings.direct_models, tenant_id, name, "chat")
        if model is None:
            raise ModelNotFound(f"There is no model called {name!r} that this tenant may use.")
        return self._settings.direct_model_name(name, model)

    def _build_one(
        self,
        tenant_id: UUID | None,
        name: str,
        definition: AgentDefinition,
        values: Values,
        own_tools: OwnTools,
    ) -> Agent[RunContext]:
        model: Model | None = None
        if definition.model is not None:
            names = (definition.model, *definition.fallbacks)
            model = self._build_model([self.model_name(tenant_id, one) for one in names])
        schema = definition.output_schema
        return AcmeAgent(
            name=name,
            handoff_description=definition.description or None,
            instructions=instructions_of(definition, values),
            model=model,
            model_settings=ChosenSettings().resolve(definition.settings.to_options().model_settings),
            tools=tools_of(definition, own_tools),
            output_type=RequestedOutput(OutputFormat(json_schema=strict_schema(schema), is_strict=True))
            if schema is not None
            else None,
            memory=definition.memory,
            compaction=definition.compaction,
        )

    @staticmethod
    def _reached(names: list[str], graph: Graph, name: str) -> list[Agent[RunContext]]:
        """Return agents by their names; one that is there no more is left out."""
        if missing := [one for one in names if one not in graph]:
            logger.warning("agent left out", extra={"agent": name, "missing": missing})
        return [graph[one] for one in names if one in graph]


def tools_of(definition: AgentDefinition, own: OwnTools) -> list[Tool]:
    """Return the tools of an agent, with its approvals; one that is there no more is left out."""
    known = tools_by_name()
    found = [(use, own_tool(use, own) if use.digest else known.get(use.name)) for use in definition.tools]
    return [with_approval(tool, use.approval) for use, tool in found if tool]


def own_tool(use: ToolUse, own: OwnTools) -> FunctionTool | None:
    """Return an HTTP tool of the tenant."""
    tool = own.get(use.digest or "")
    return function_tool(use.name, tool) if tool else None


def instructions_of(definition: AgentDefinition, values: Values) -> str:
    """Return the instructions with the values of variables."""
    known = {name: values.get(name, one.default) for name, one in definition.variables.items()}
    return PLACEHOLDER.sub(lambda match: text_of(known.get(match[1])), definition.instructions)


def text_of(value: VariableValue | None) -> str:
    """Return a value as it stands in a text."""
    return str(value).lower() if isinstance(value, bool) else "" if value is None else str(value)
