"""Calls of a direct model that are no runs: reserved before, metered after, and passed on as they are."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import agents
from servicekit.auth.tokens import Principal
from sqlalchemy.ext.asyncio import AsyncSession

from chat_agent.budgets import CallReservation
from chat_agent.clients.billing import RunRef
from chat_agent.clients.retry import retry_transaction
from chat_agent.direct_models import Endpoint, find_model
from chat_agent.errors import ModelNotFound
from chat_agent.events import publish_call
from chat_agent.execution.manager import RunManager
from chat_agent.model.chat_stream import count_of, is_count
from chat_agent.model.json import Json
from chat_agent.model.usage import UsageMeter, Used, estimated_tokens
from chat_agent.provider_keys.keys import OWN_KEYS, own_key
from chat_agent.settings import Settings


@dataclass(frozen=True)
class PlainRequest:
    """What is passed on, and what it may use."""

    endpoint: Endpoint
    # The name by which the tenant calls the model.
    model: str
    body: Json
    input_characters: int
    max_tokens: int = 0


class PlainCall:
    """One call, from its reservation to its usage."""

    def __init__(self, manager: RunManager, caller: Principal, request: PlainRequest) -> None:
        name = request.model or first_model(manager.settings, caller.tenant_id, request.endpoint)
        model = find_model(manager.settings.direct_models, caller.tenant_id, name, request.endpoint)
        if model is None:
            raise ModelNotFound(f"There is no model called {name!r} for {request.endpoint}.")
        assert caller.tenant_id  # noqa: S101  # the token of a person has one
        self._manager = manager
        self._request = request
        self._name = name
        self._provider_name = manager.settings.direct_model_name(name, model)
        self._ref = RunRef(caller.tenant_id, uuid4(), caller.user_id, name)
        self._meter = UsageMeter(manager.catalogue)
        self._reservation: CallReservation | None = None
        self._used = Used()
        self._is_own_key = False
        self._started_at = datetime.now(UTC)

    async def complete(self) -> Json:
        """Return the whole answer; raises QuotaExceeded, BillingUnavailable, and the failure of the model."""
        await self._reserve()
        try:
            answer = await self._manager.plain_calls.send(self._request.endpoint, self._body())
            self._count(answer.get("usage"), characters_of(answer))
        except asyncio.CancelledError:
            # The provider has read the input; what it had written until then nobody knows.
            self._count(None, 0)
            raise
        finally:
            await self._record()
        return self._named(answer)

    async def stream(self) -> AsyncGenerator[Json, None]:
        """Yield the events of the answer."""
        await self._reserve()
        usage: Any = None
        characters = 0
        has_begun = False
        events = self._manager.plain_calls.stream(self._request.endpoint, self._body())
        try:
            async with aclosing(events):
                async for event in events:
                    has_begun = True
                    usage = event.get("usage") or usage
                    characters += characters_of(event)
                    yield self._named(event)
        finally:
            if has_begun:
                self._count(usage, characters)
            await self._record()

    def _body(self) -> Json:
        return {**self._request.body, "model": self._provider_name}

    def _named(self, answer: Json) -> Json:
        return {**answer, "model": self._name} if "model" in answer else answer

    async def _reserve(self) -> None:
        OWN_KEYS.set(await self._manager.provider_keys.of_tenant(self._ref.tenant_id))
        self._is_own_key = own_key("openai") is not None
        budget = self._manager.budgets.of_run(self._ref, 1)
        input_tokens = estimated_tokens(self._request.input_characters)
        self._reservation = await budget.reserve(
            self._provider_name, input_tokens, self._request.max_tokens, is_own_key=self._is_own_key
        )

    def _count(self, usage: Any, output_characters: int) -> None:
        """Count what the provider reports, or an estimate."""
        if isinstance(usage, dict) and is_count(usage.get("prompt_tokens")):
            reported = agents.Usage(
                input_tokens=count_of(usage["prompt_tokens"]),
                output_tokens=count_of(usage.get("completion_tokens")),
            )
            self._used = self._meter.count(self._provider_name, reported, is_own_key=self._is_own_key)
        else:
            characters = self._request.input_characters
            self._used = self._meter.estimate(
                self._provider_name, characters, output_characters, is_own_key=self._is_own_key
            )

    async def _record(self) -> None:
        """Settle the reservation and publish the usage, also when the client leaves meanwhile."""
        if self._reservation is not None:
            self._reservation.settle(*self._used)
        await asyncio.shield(self._manager.run_in_background(self._publish()))

    async def _publish(self) -> None:
        usage = self._meter.total()
        if not usage.models:
            return

        async def publish(session: AsyncSession) -> None:
            # It belongs to no conversation; the id says so by being the call's own.
            publish_call(session, self._ref, self._ref.id, usage, self._started_at)

        await retry_transaction(self._manager.database, publish)


def first_model(settings: Settings, tenant_id: UUID | None, endpoint: Endpoint) -> str:
    """Return the name of the first model that a tenant may call at an endpoint, or nothing."""
    models = settings.direct_models
    return next((name for name in models if find_model(models, tenant_id, name, endpoint)), "")


def characters_of(answer: Json) -> int:
    """Return how many characters an answer, or a part of it, has."""
    choices = answer.get("choices")
    texts = [one.get("text") for one in choices or [] if isinstance(one, dict)] if choices else []
    return sum(len(text) for text in texts if isinstance(text, str))
