"""Evaluators of what a run did, beside those of pydantic-evals."""

import json
from dataclasses import dataclass
from typing import Any

import jsonschema_rs
from pydantic_evals.evaluators import EvaluationReason, Evaluator, EvaluatorContext

from acme_evals.marked import GEval, LLMJudge

Context = EvaluatorContext[Any, Any, Any]
# Of an answer in a reason.
MAX_QUOTE = 80


@dataclass(repr=False)
class CalledTools(Evaluator[Any, Any, Any]):
    """The run called these tools in this order; others may come between them."""

    tools: list[str]
    allow_others: bool = True

    def evaluate(self, ctx: Context) -> EvaluationReason:
        """Compare with the calls of the run."""
        called = ctx.attributes["tools"]
        rest = iter(called)
        in_order = all(tool in rest for tool in self.tools)
        is_met = in_order if self.allow_others else called == self.tools
        return EvaluationReason(is_met, f"called {', '.join(called) or 'no tools'}")


@dataclass(repr=False)
class HandedOver(Evaluator[Any, Any, Any]):
    """The run was handed over to these agents, in this order; `[]`: to none."""

    agents: list[str]

    def evaluate(self, ctx: Context) -> EvaluationReason:
        """Compare with the agents of the run."""
        agents = ctx.attributes["agents"]
        return EvaluationReason(agents[1:] == self.agents, f"answered by {' → '.join(agents)}")


@dataclass(repr=False)
class MatchesSchema(Evaluator[Any, Any, Any]):
    """The output is JSON that a JSON schema allows."""

    schema: dict[str, Any]

    def __post_init__(self) -> None:
        jsonschema_rs.validator_for(self.schema)  # raises ValueError where it is no schema

    def evaluate(self, ctx: Context) -> EvaluationReason:
        """Read the output, and validate it."""
        try:
            value = json.loads(ctx.output)
        except ValueError:
            return EvaluationReason(False, f"no JSON: {ctx.output[:MAX_QUOTE]!r}")
        errors = jsonschema_rs.validator_for(self.schema).iter_errors(value)
        reasons = [
            f"{'.'.join(map(str, one.instance_path)) or 'the output'}: {one.message}" for one in errors
        ]
        return EvaluationReason(not reasons, "; ".join(reasons[:3]) or None)


@dataclass(repr=False)
class MaxCost(Evaluator[Any, Any, Any]):
    """The runs cost at most so many US dollars; a cost that is not known fails."""

    usd: float

    def evaluate(self, ctx: Context) -> EvaluationReason:
        """Compare with the cost of the runs."""
        cost = ctx.metrics.get("cost_usd")
        if cost is None:
            return EvaluationReason(False, "the cost is not known: no price for a model is set")
        return EvaluationReason(cost <= self.usd, f"${cost:.6f}")


@dataclass(repr=False)
class MaxTokens(Evaluator[Any, Any, Any]):
    """The runs used at most so many tokens, input and output together."""

    tokens: int

    def evaluate(self, ctx: Context) -> EvaluationReason:
        """Compare with the tokens of the runs."""
        used = ctx.metrics["input_tokens"] + ctx.metrics["output_tokens"]
        return EvaluationReason(used <= self.tokens, f"{used} tokens")


EVALUATORS: list[type[Evaluator[Any, Any, Any]]] = [
    LLMJudge,
    GEval,
    CalledTools,
    HandedOver,
    MatchesSchema,
    MaxCost,
    MaxTokens,
]
