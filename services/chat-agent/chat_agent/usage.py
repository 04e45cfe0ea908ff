"""How many tokens a run has used, by model, as each answer of a model tells it."""

from typing import Any

from agents import Agent, ModelResponse, RunContextWrapper, RunHooks

from chat_agent.schemas import ModelUsage, Usage
from chat_agent.tools import RunContext


class UsageMeter(RunHooks[RunContext]):
    """Counts as the run goes, so that what a failed run has used is known too."""

    def __init__(self, model: str) -> None:
        self._model = model
        self._models: dict[str, ModelUsage] = {}
        self._estimated = False

    async def on_llm_end(
        self,
        context: RunContextWrapper[RunContext],  # noqa: ARG002  # the SDK's signature
        agent: Agent[RunContext],
        response: ModelResponse,
    ) -> None:
        """Count one answer of a model."""
        name = agent.model if isinstance(agent.model, str) else self._model
        used, counted = response.usage, self._of(name)
        counted.requests += used.requests
        counted.input_tokens += used.input_tokens
        counted.output_tokens += used.output_tokens
        counted.cached_tokens += used.input_tokens_details.cached_tokens or 0
        counted.reasoning_tokens += used.output_tokens_details.reasoning_tokens or 0

    def estimate(self, output_tokens: int) -> None:
        """Count an answer that broke off, for which the provider told nothing."""
        counted = self._of(self._model)
        counted.requests += 1
        counted.output_tokens += output_tokens
        self._estimated = True

    def total(self) -> Usage:
        """Give what was used so far."""
        models = list(self._models.values())
        sums: dict[str, Any] = {
            name: sum(getattr(model, name) for model in models)
            for name in ModelUsage.model_fields
            if name != "model"
        }
        return Usage(**sums, estimated=self._estimated, models=models)

    def _of(self, model: str) -> ModelUsage:
        return self._models.setdefault(model, ModelUsage(model=model))
