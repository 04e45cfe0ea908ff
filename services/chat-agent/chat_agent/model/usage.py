"""How many tokens a run has used, by model: as the provider tells it, or estimated where it tells nothing."""

import math
from collections.abc import Iterable
from contextvars import ContextVar
from decimal import Decimal
from typing import NamedTuple

import agents
from openai.types.responses import ResponseUsage

from chat_agent.model.prices import Catalogue, Tokens
from chat_agent.model.request_size import SchemaSizes
from chat_agent.schemas import ModelUsage, Usage

# Rough, and marked so: the provider tells nothing of an answer that broke off.
CHARACTERS_PER_TOKEN = 4
# Of what is used with the tenant's own key.
OWN_KEY_TOKENS = ("input_tokens", "output_tokens", "cached_tokens")
TOKEN_FIELDS = [name for name in ModelUsage.model_fields if name not in {"model", "cost"}]


# What a provider tells of one answer, in OpenAI's words or in the SDK's.
ProviderUsage = ResponseUsage | agents.Usage


class LastCall(NamedTuple):
    """The newest call of a run: its model, and all tokens of its input and answer."""

    model: str
    tokens: int


class Used(NamedTuple):
    """The tokens of one call."""

    input_tokens: int = 0
    output_tokens: int = 0


class UsageMeter:
    """Counts as the run goes, so that what a failed run has used is known too."""

    def __init__(self, catalogue: Catalogue | None = None) -> None:
        self.tokens = 0
        # Of the agent that the run began with, or that took over, where that is lower than of any run.
        self.token_limit: int | None = None
        # Whether the newest answer ends at a limit of tokens.
        self.is_truncated = False
        self.last_call: LastCall | None = None
        self.schema_sizes = SchemaSizes()
        self._models: dict[str, ModelUsage] = {}
        self._catalogue = catalogue or Catalogue()
        # In millionths of a dollar, exactly; none where a price is not known.
        self._costs: dict[str, Decimal | None] = {}

    @classmethod
    def resume(cls, usage: Usage, catalogue: Catalogue | None = None) -> "UsageMeter":
        """Continue from usage that was stored before, maybe by another process."""
        meter = cls(catalogue)
        meter._models = {each.model: each.model_copy() for each in usage.models}
        costs = {each.model: each.cost for each in usage.models}
        meter._costs = {model: None if cost is None else Decimal(cost) for model, cost in costs.items()}
        meter.tokens = usage.input_tokens + usage.output_tokens
        return meter

    def count(self, model: str, usage: ProviderUsage, *, is_own_key: bool = False) -> Used:
        """Count one answer of a model."""
        return self._add(
            model,
            is_own_key,
            input_tokens=usage.input_tokens or 0,
            output_tokens=usage.output_tokens or 0,
            cached_tokens=getattr(usage.input_tokens_details, "cached_tokens", 0) or 0,
            cache_write_tokens=getattr(usage.input_tokens_details, "cache_write_tokens", 0) or 0,
            reasoning_tokens=getattr(usage.output_tokens_details, "reasoning_tokens", 0) or 0,
        )

    def estimate(
        self, model: str, input_characters: int, output_characters: int, *, is_own_key: bool = False
    ) -> Used:
        """Count an answer whose usage the provider did not report."""
        input_tokens, output_tokens = estimated_tokens(input_characters), estimated_tokens(output_characters)
        return self._add(
            model,
            is_own_key,
            input_tokens=input_tokens,
            output_tokens=output_tokens,
            estimated_input_tokens=input_tokens,
            estimated_output_tokens=output_tokens,
        )

    def total(self) -> Usage:
        """Return what was used so far, and what that costs, rounded up to a millionth of a dollar."""
        costs = {name: rounded_up(cost) for name, cost in self._costs.items()}
        models = [each.model_copy(update={"cost": costs[name]}) for name, each in self._models.items()]
        sums = {name: sum(getattr(model, name) for model in models) for name in TOKEN_FIELDS}
        is_estimated = bool(sums["estimated_input_tokens"] or sums["estimated_output_tokens"])
        totals = {**sums, "cost": rounded_up(total_of(self._costs.values())), "estimated": is_estimated}
        return Usage.model_validate({**totals, "models": models})

    def _add(self, model: str, is_own_key: bool, **tokens: int) -> Used:
        counted = self._models.setdefault(model, ModelUsage(model=model))
        counted.requests += 1
        own = {f"own_key_{name}": tokens.get(name, 0) for name in OWN_KEY_TOKENS} if is_own_key else {}
        for name, number in (tokens | own).items():
            setattr(counted, name, getattr(counted, name) + number)
        if is_own_key:  # its provider charges the tenant
            self._costs.setdefault(model, Decimal(0))
        else:
            self._add_cost(model, tokens)
        used = Used(tokens["input_tokens"], tokens["output_tokens"])
        self.tokens += sum(used)
        self.last_call = LastCall(model, sum(used))
        return used

    def _add_cost(self, model: str, tokens: dict[str, int]) -> None:
        names = ("input_tokens", "cached_tokens", "cache_write_tokens", "output_tokens")
        cost = self._catalogue.cost(model, Tokens(*(tokens.get(name, 0) for name in names)))
        self._costs[model] = total_of([self._costs.get(model, Decimal(0)), cost])


def estimated_tokens(characters: int) -> int:
    """Estimate the tokens of a text; of any text at all at least one."""
    return -(-characters // CHARACTERS_PER_TOKEN)


def total_of(costs: Iterable[Decimal | None]) -> Decimal | None:
    """Add up costs; none where one is not known."""
    total = Decimal(0)
    for cost in costs:
        if cost is None:
            return None
        total += cost
    return total


def rounded_up(cost: Decimal | None) -> int | None:
    """Return a cost in whole millionths of a dollar."""
    return None if cost is None else math.ceil(cost)


# The meter of the run that the current task works for, and all that it starts: agents as tools, fallbacks.
METER: ContextVar[UsageMeter | None] = ContextVar("METER", default=None)
