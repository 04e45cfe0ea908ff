"""How many tokens a run has used, by model: as the provider tells it, or estimated where it tells nothing."""

from contextvars import ContextVar
from typing import NamedTuple

import agents
from openai.types.responses import ResponseUsage

from chat_agent.schemas import ModelUsage, Usage
from chat_agent.settings import Price

# Rough, and marked so: the provider tells nothing of an answer that broke off.
CHARACTERS_PER_TOKEN = 4
TOKENS_PER_PRICE = 1_000_000
TOKEN_FIELDS = [name for name in ModelUsage.model_fields if name != "model"]


# What a provider tells of one answer, in OpenAI's words or in the SDK's.
ProviderUsage = ResponseUsage | agents.Usage


class Used(NamedTuple):
    """The tokens of one call."""

    input_tokens: int = 0
    output_tokens: int = 0


class UsageMeter:
    """Counts as the run goes, so that what a failed run has used is known too."""

    def __init__(self) -> None:
        self.tokens = 0
        # Whether the newest answer ends at a limit of tokens.
        self.is_truncated = False
        self._models: dict[str, ModelUsage] = {}

    @classmethod
    def resume(cls, usage: Usage) -> "UsageMeter":
        """Continue from usage that was stored before, maybe by another process."""
        meter = cls()
        meter._models = {each.model: each.model_copy() for each in usage.models}
        meter.tokens = usage.input_tokens + usage.output_tokens
        return meter

    def count(self, model: str, usage: ProviderUsage) -> Used:
        """Count one answer of a model."""
        return self._add(
            model,
            input_tokens=usage.input_tokens or 0,
            output_tokens=usage.output_tokens or 0,
            cached_tokens=getattr(usage.input_tokens_details, "cached_tokens", 0) or 0,
            cache_write_tokens=getattr(usage.input_tokens_details, "cache_write_tokens", 0) or 0,
            reasoning_tokens=getattr(usage.output_tokens_details, "reasoning_tokens", 0) or 0,
        )

    def estimate(self, model: str, input_characters: int, output_characters: int) -> Used:
        """Count an answer whose usage the provider did not report."""
        input_tokens, output_tokens = estimated_tokens(input_characters), estimated_tokens(output_characters)
        return self._add(
            model,
            input_tokens=input_tokens,
            output_tokens=output_tokens,
            estimated_input_tokens=input_tokens,
            estimated_output_tokens=output_tokens,
        )

    def total(self) -> Usage:
        """Return what was used so far."""
        models = [each.model_copy() for each in self._models.values()]
        sums = {name: sum(getattr(model, name) for model in models) for name in TOKEN_FIELDS}
        is_estimated = bool(sums["estimated_input_tokens"] or sums["estimated_output_tokens"])
        return Usage.model_validate({**sums, "estimated": is_estimated, "models": models})

    def cost(self, prices: dict[str, Price]) -> int | None:
        """Return what that costs in millionths of a dollar, rounded up; None when a price is not known."""
        if any(model not in prices for model in self._models):
            return None
        parts = sum(cost_numerator(usage, prices[model]) for model, usage in self._models.items())
        return -(-parts // TOKENS_PER_PRICE)

    def _add(self, model: str, **tokens: int) -> Used:
        counted = self._models.setdefault(model, ModelUsage(model=model))
        counted.requests += 1
        for name, number in tokens.items():
            setattr(counted, name, getattr(counted, name) + number)
        used = Used(tokens["input_tokens"], tokens["output_tokens"])
        self.tokens += sum(used)
        return used


def estimated_tokens(characters: int) -> int:
    """Estimate the tokens of a text; of any text at all at least one."""
    return -(-characters // CHARACTERS_PER_TOKEN)


def cost_numerator(usage: ModelUsage, price: Price) -> int:
    """Return a model's cost in millionths of its price's unit."""
    fresh = usage.input_tokens - usage.cached_tokens
    return fresh * price.input + usage.cached_tokens * price.cached + usage.output_tokens * price.output


# The meter of the run that the current task works for, and all that it starts: agents as tools, fallbacks.
METER: ContextVar[UsageMeter | None] = ContextVar("METER", default=None)
