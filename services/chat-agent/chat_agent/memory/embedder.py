"""Calls the installation's model for embeddings, as part of a run: reserved and counted with it."""

from collections.abc import Sequence

import agents
from pydantic import BaseModel, ValidationError

from chat_agent.budgets import BUDGET
from chat_agent.errors import ModelFailed
from chat_agent.memory import vectors
from chat_agent.model.plain_calls import PlainCalls
from chat_agent.model.usage import METER, UsageMeter, Used, estimated_tokens
from chat_agent.provider_keys.keys import own_key
from chat_agent.settings import Settings


class Embedding(BaseModel):
    """The vector of one text."""

    index: int
    embedding: list[float]


class EmbeddingUsage(BaseModel):
    """How many tokens the texts had."""

    prompt_tokens: int = 0


class Embeddings(BaseModel):
    """What the provider answers."""

    data: list[Embedding]
    usage: EmbeddingUsage = EmbeddingUsage()


class Embedder:
    """Embeds texts."""

    def __init__(self, calls: PlainCalls, model: str) -> None:
        self._calls = calls
        self.model = model

    async def embed(self, texts: Sequence[str]) -> list[bytes]:
        """Return the vector of each text; raises QuotaExceeded, BillingUnavailable, the model's failure."""
        characters = sum(map(len, texts))
        budget = BUDGET.get()
        is_own_key = own_key("openai") is not None
        reservation = (
            await budget.reserve(self.model, estimated_tokens(characters), 0, is_own_key=is_own_key)
            if budget
            else None
        )
        used = Used()
        try:
            body = {"model": self.model, "input": [*texts], "encoding_format": "float"}
            answer = parse(await self._calls.send("embeddings", body), len(texts))
            used = count(self.model, answer.usage.prompt_tokens, characters, is_own_key=is_own_key)
        finally:
            if reservation is not None:
                reservation.settle(*used)
        return [vectors.pack(one.embedding) for one in sorted(answer.data, key=lambda one: one.index)]


def count(model: str, tokens: int, characters: int, *, is_own_key: bool) -> Used:
    """Count what was embedded in the usage of the run."""
    meter = METER.get() or UsageMeter()
    if not tokens:
        return meter.estimate(model, characters, 0, is_own_key=is_own_key)
    return meter.count(model, agents.Usage(input_tokens=tokens), is_own_key=is_own_key)


def parse(answer: object, count: int) -> Embeddings:
    """Read the answer of a provider; raises ModelFailed where it is none."""
    try:
        embeddings = Embeddings.model_validate(answer)
    except ValidationError as error:
        raise ModelFailed from error
    if len(embeddings.data) != count:
        raise ModelFailed
    return embeddings


def embedder_of(settings: Settings, calls: PlainCalls) -> Embedder | None:
    """Return what embeds memories; nothing where the operator has named no model."""
    model = settings.memory_embedding_model
    return Embedder(calls, model) if model else None
