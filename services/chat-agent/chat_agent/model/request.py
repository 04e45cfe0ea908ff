"""The arguments of a model call."""

from collections.abc import AsyncIterator, Iterator
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any

from agents import Handoff, Model, ModelSettings, Tool
from agents.agent_output import AgentOutputSchemaBase
from agents.items import TResponseInputItem, TResponseStreamEvent
from agents.models import get_default_model_settings
from agents.models.interface import ModelTracing
from openai.types.responses.response_prompt_param import ResponsePromptParam

from chat_agent.items import is_call
from chat_agent.model.reasoning import without_foreign
from chat_agent.settings import OtherProvider

# How servers that fail on purpose, and those that count, know which attempt this is.
ATTEMPT = "x-stainless-retry-count"

# Settings that some models do not know and that the SDK sets for those that do.
MODEL_DEPENDENT = frozenset({"reasoning", "verbosity"})
# Which of them the caller of the current run has set: these are passed on to every model.
CALLER_SETTINGS: ContextVar[frozenset[str]] = ContextVar("CALLER_SETTINGS", default=frozenset())


class ChosenSettings(ModelSettings):
    """The settings of an agent of a tenant: none of them is the SDK's choice, also where it is the same."""


@dataclass(frozen=True)
class ModelRequest:
    """The arguments of the SDK's `Model`, under its names and in its order."""

    system_instructions: str | None
    input: str | list[TResponseInputItem]
    model_settings: ModelSettings
    tools: list[Tool]
    output_schema: AgentOutputSchemaBase | None
    handoffs: list[Handoff]
    tracing: ModelTracing
    previous_response_id: str | None = None
    conversation_id: str | None = None
    prompt: ResponsePromptParam | None = None

    def send(self, model: Model, attempt: int) -> AsyncIterator[TResponseStreamEvent]:
        """Call a model; nothing is sent before the first event is awaited."""
        headers = {**(self.model_settings.extra_headers or {}), ATTEMPT: str(attempt)}
        return model.stream_response(
            self.system_instructions,
            self.input,
            replace(self.model_settings, extra_headers=headers),
            self.tools,
            self.output_schema,
            self.handoffs,
            self.tracing,
            previous_response_id=self.previous_response_id,
            conversation_id=self.conversation_id,
            prompt=self.prompt,
        )

    def for_model(self, name: str, implicit: ModelSettings) -> "ModelRequest":
        """Return the question for this model: what the SDK chose by another name is chosen by its own."""
        if isinstance(self.model_settings, ChosenSettings):
            return self
        settings, own = self.model_settings, get_default_model_settings(name)
        changed = {
            field: getattr(own, field)
            for field in MODEL_DEPENDENT - CALLER_SETTINGS.get()
            if getattr(settings, field) == getattr(implicit, field) != getattr(own, field)
        }
        return replace(self, model_settings=replace(settings, **changed)) if changed else self

    def for_provider(self, provider: OtherProvider | None, host: str) -> "ModelRequest":
        """Return the question without the reasoning of other providers."""
        if isinstance(self.input, str):
            return self
        own = without_foreign(self.input, provider, host)
        return self if own is self.input else replace(self, input=own)

    def call_ids(self) -> Iterator[str]:
        """Return the ids of the tool calls that were made before."""
        for item in self.input if isinstance(self.input, list) else []:
            call: Any = item
            if isinstance(call, dict) and is_call(call):
                yield str(call.get("call_id"))
