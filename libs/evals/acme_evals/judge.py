"""The model that judges answers: one of ours, over `/v1`, whose cost is counted apart."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import httpx2
from acme_client import AcmeClient
from genai_prices import Usage, calc_price
from openai import AsyncOpenAI
from pydantic_ai.messages import ModelMessage, ModelResponse
from pydantic_ai.models import ModelRequestParameters
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.models.wrapper import WrapperModel
from pydantic_ai.profiles import ModelProfile
from pydantic_ai.providers.openai import OpenAIProvider
from pydantic_ai.settings import ModelSettings
from pydantic_evals.evaluators import llm_as_a_judge

TIMEOUT_SECONDS = 120


@dataclass
class JudgeUsage:
    """What judging has taken; a price that is not known is not 0."""

    model: str
    requests: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    # Where an agent judges, its runs, which know what they cost.
    run_ids: list[str] = field(default_factory=list)
    cost: Decimal | None = Decimal(0)

    async def note_run(self, response: httpx2.Response) -> None:
        """Note the run that a response is of; a model that is called directly has none."""
        if run_id := response.headers.get("acme-run-id"):
            self.run_ids.append(run_id)

    def add(self, response: ModelResponse) -> None:
        """Add one answer of the judge."""
        self.requests += 1
        self.input_tokens += response.usage.input_tokens
        self.output_tokens += response.usage.output_tokens

    async def settle(self, client: AcmeClient) -> None:
        """Find out what judging cost: of the runs, or else as genai-prices estimates it."""
        if not self.requests and not self.run_ids:
            return
        if not self.run_ids:
            self.cost = price_of(self.model, self.input_tokens, self.output_tokens)
            return
        costs = [(await client.run(run_id))["cost"] for run_id in self.run_ids]
        known = [cost for cost in costs if cost is not None]
        self.cost = Decimal(sum(known)) / 1_000_000 if len(known) == len(costs) else None

    def summary(self) -> dict[str, Any]:
        """Return what a report stores."""
        return {
            "model": self.model,
            "requests": self.requests,
            "input_tokens": self.input_tokens,
            "output_tokens": self.output_tokens,
            "cost_usd": None if self.cost is None else float(round(self.cost, 6)),
        }


def price_of(model: str, input_tokens: int, output_tokens: int) -> Decimal | None:
    """Estimate a price in US dollars, of a model `provider/name`; none where it is not known."""
    provider, _, name = model.rpartition("/")
    usage = Usage(input_tokens=input_tokens, output_tokens=output_tokens)
    try:
        return calc_price(usage, name, provider_id=provider or None).total_price
    except LookupError:
        return None


class CountedModel(WrapperModel):
    """Counts what a model uses."""

    def __init__(self, wrapped: OpenAIChatModel, usage: JudgeUsage) -> None:
        super().__init__(wrapped)
        self._judge_usage = usage

    async def request(
        self,
        messages: list[ModelMessage],
        model_settings: ModelSettings | None,
        model_request_parameters: ModelRequestParameters,
    ) -> ModelResponse:
        """Call the model, and count."""
        response = await super().request(messages, model_settings, model_request_parameters)
        self._judge_usage.add(response)
        return response


@asynccontextmanager
async def judging(
    acme: AcmeClient, url: str, model: str, token: Callable[[], Awaitable[str]]
) -> AsyncIterator[JudgeUsage]:
    """Judge with a model of ours wherever a case names no other; what it used is counted."""
    usage = JudgeUsage(model)
    hooks = {"response": [usage.note_run]}
    http = httpx2.AsyncClient(timeout=TIMEOUT_SECONDS, event_hooks=hooks)
    client = AsyncOpenAI(base_url=f"{url}/v1", api_key=token, http_client=http)
    # An agent has tools of its own: the verdict is JSON, and not a call of a tool.
    profile = ModelProfile(default_structured_output_mode="native", supports_json_schema_output=True)
    judge = OpenAIChatModel(model, provider=OpenAIProvider(openai_client=client), profile=profile)
    llm_as_a_judge.set_default_judge_model(CountedModel(judge, usage))
    async with http:
        yield usage
        await usage.settle(acme)
