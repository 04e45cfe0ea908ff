"""A model that is asked again, and another in its place, until one of them says the first word."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from functools import partial
from typing import Any, TypeVar

from agents import ModelSettings
from agents.items import TResponseStreamEvent
from servicekit.backoff import exponential, jittered
from servicekit.errors import ServiceError

from chat_agent.budgets import BUDGET
from chat_agent.errors import (
    ModelRateLimited,
    ModelRefusedRequest,
    ModelTimedOut,
    ModelUnavailable,
)
from chat_agent.model import failures, fallbacks
from chat_agent.model.call import Candidate, Limits, ModelCall
from chat_agent.model.failures import LIMIT_ERRORS
from chat_agent.model.request import ModelRequest
from chat_agent.model.streamed import StreamedModel
from chat_agent.model.usage import METER, UsageMeter
from chat_agent.provider_keys.errors import ProviderKeyRefused

FIRST_BACKOFF, MAX_BACKOFF = 0.5, 8.0
# For longer than this nobody waits, whatever the provider asks for: others may do better.
MAX_RETRY_AFTER = 20.0
TRANSIENT = (ModelUnavailable, ModelRateLimited, ModelTimedOut)
# A rate limit that no waiting ends.
QUOTA_EXHAUSTED = "insufficient_quota"
# Asking somebody else would not help either.
PERMANENT = (ModelRefusedRequest, ProviderKeyRefused, *LIMIT_ERRORS)

Answer = TypeVar("Answer")


class ResilientModel(StreamedModel):
    """Candidates, the first choice first; nothing is asked again once a word was said."""

    def __init__(
        self,
        candidates: Sequence[Candidate],
        limits: Limits,
        max_retries: int,
        implicit: ModelSettings | None = None,
    ) -> None:
        self._candidates = candidates
        self._implicit = implicit or ModelSettings()
        self._limits = limits
        self._max_retries = max_retries

    async def stream_response(self, *args: Any, **kwargs: Any) -> AsyncGenerator[TResponseStreamEvent, None]:
        """Return the answer as it comes."""
        async with aclosing(self.stream(ModelRequest(*args, **kwargs))) as events:
            async for event in events:
                yield event

    async def stream(self, request: ModelRequest) -> AsyncGenerator[TResponseStreamEvent, None]:
        """Return the answer to a request as it comes."""
        call = await self._start(request)
        async with aclosing(call.events()) as events:
            async for event in events:
                yield event

    async def _start(self, request: ModelRequest) -> ModelCall:
        """Return the first call that has something to say; raises the failure of the last."""
        meter = METER.get() or UsageMeter()
        failure: ServiceError = ModelUnavailable()
        failed: Candidate | None = None
        for candidate in self._candidates:
            if failed is not None:
                fallbacks.record(failed.name, candidate.name, failure)
            model_request = request.for_model(candidate.name, self._implicit)
            model_request = model_request.for_provider(candidate.provider, candidate.host)
            start_call = partial(self._start_call, candidate, model_request, meter)
            try:
                return await retry_transient(start_call, self._max_retries)
            except PERMANENT:
                raise
            except ServiceError as error:
                failure, failed = error, candidate
        raise failure

    async def _start_call(
        self, candidate: Candidate, request: ModelRequest, meter: UsageMeter, attempt: int
    ) -> ModelCall:
        call = ModelCall(candidate, request, attempt, self._limits, meter, BUDGET.get())
        await call.start()
        return call


async def retry_transient(attempt_call: Callable[[int], Awaitable[Answer]], max_retries: int) -> Answer:
    """Return what the first attempt that succeeds returns; raises the failure of the last.

    Attempts are numbered from 0. One more follows a transient failure, after its back-off.
    """
    attempt = 0
    while True:
        try:
            return await attempt_call(attempt)
        except ServiceError as failure:
            if attempt >= max_retries or not await should_retry(failure, attempt):
                raise
        attempt += 1


async def should_retry(failure: ServiceError, attempt: int) -> bool:
    """Return whether to retry the same model, after waiting for the back-off."""
    wait = failures.retry_after_seconds(failure.__cause__)
    is_passing = (
        isinstance(failure, TRANSIENT) and getattr(failure.__cause__, "code", None) != QUOTA_EXHAUSTED
    )
    if not is_passing or wait > MAX_RETRY_AFTER:
        return False
    await asyncio.sleep(max(wait, jittered(exponential(attempt + 1, FIRST_BACKOFF, MAX_BACKOFF))))
    return True
