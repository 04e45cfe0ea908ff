"""The guardrails of the service, and how those of an agent come beside them; neither can weaken the other."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from agents import Agent, FunctionTool, Model, Tool

from chat_agent.guardrails.config import STAGES, AgentGuardrails, GuardrailConfig
from chat_agent.model.guarded import GuardedModel
from chat_agent.model.judge import Judges, Models
from chat_agent.model.tool_guard import ToolGuard


class ServiceGuardrails:
    """Guards models and agents."""

    def __init__(self, config: GuardrailConfig, models: Models) -> None:
        self._config = config
        self._models = models
        self._judges = Judges.of(config, models)
        self._is_empty = not any(getattr(config, stage).guardrails for stage in STAGES)
        self.tool_guard = ToolGuard.of(config, self._judges)

    def model(self, model: Model) -> Model:
        """Return a model as all agents call it."""
        return model if self._is_empty else GuardedModel(model, self._config, self._judges, is_agents=False)

    def guard_agent(
        self, agent: Agent[Any], guardrails: AgentGuardrails, find: Callable[[str], Model]
    ) -> None:
        """Guard the model and the tools of an agent; `find` returns a model that it may name."""
        own = agent.model if isinstance(agent.model, Model) else self._models.find(None)
        models = replace(self._models, find=lambda name: own if name is None else find(name))
        config = guardrails.config
        judges = Judges.of(config, models)
        agent.model = GuardedModel(own, config, judges, is_agents=True)
        if guard := ToolGuard.of(config, judges):
            agent.tools = [with_guard(tool, guard) for tool in agent.tools]


def with_guard(tool: Tool, guard: ToolGuard) -> Tool:
    """Return a tool whose outputs are checked."""
    # Of a `GuardedTool`, which imports this package.
    invoke: Any = getattr(tool, "on_invoke_tool", None)
    if not isinstance(tool, FunctionTool) or not hasattr(invoke, "guard"):
        return tool
    return replace(tool, on_invoke_tool=replace(invoke, guard=guard))
