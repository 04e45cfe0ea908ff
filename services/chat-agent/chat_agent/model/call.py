"""One call of a model: timed, counted however it ends, and with a name for every failure."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from agents import Model
from agents.items import TResponseStreamEvent
from openai.types.responses import (
    ResponseCompletedEvent,
    ResponseErrorEvent,
    ResponseFailedEvent,
    ResponseIncompleteEvent,
)
from servicekit.errors import ServiceError

from chat_agent.budgets import CallReservation, RunBudget
from chat_agent.errors import (
    ModelAnswerIncomplete,
    ModelFailed,
    ModelRateLimited,
    ModelRefusedRequest,
    ModelUnavailable,
    TokenBudgetExceeded,
)
from chat_agent.model import failure_log
from chat_agent.model.call_ids import CallIds
from chat_agent.model.request import ModelRequest
from chat_agent.model.request_size import input_characters
from chat_agent.model.usage import UsageMeter, Used, estimated_tokens
from chat_agent.model.wait_limit import WaitLimit
from chat_agent.settings import OtherProvider

# What comes before the first word. It is held back: what follows may fail, and then somebody else may begin.
BEFORE_FIRST_TOKEN = {
    "response.created",
    "response.in_progress",
    "response.queued",
    "response.output_item.added",
    "response.content_part.added",
    "response.reasoning_summary_part.added",
}
Ending = ResponseCompletedEvent | ResponseFailedEvent | ResponseIncompleteEvent | ResponseErrorEvent
# What a provider calls its own trouble, once it has begun to answer; anything else is about the request.
PROVIDER_ERRORS: dict[str, type[ServiceError]] = {
    "server_error": ModelUnavailable,
    "rate_limit_exceeded": ModelRateLimited,
}


@dataclass(frozen=True)
class Candidate:
    """A model that can be asked, and the name under which its tokens are counted."""

    name: str
    model: Model
    host: str = ""
    # None is OpenAI, or a server of its protocol.
    provider: OtherProvider | None = None
    # Whether it is called with the tenant's own key.
    is_own_key: bool = False


@dataclass(frozen=True)
class Limits:
    """How long a model may take, and how much a run may use."""

    first_token_seconds: float
    between_tokens_seconds: float
    token_budget: int


class ModelCall:
    """A question on its way to a model, and the answer on its way back."""

    def __init__(  # noqa: PLR0913, PLR0917  # what a call is made of
        self,
        candidate: Candidate,
        question: ModelRequest,
        attempt: int,
        limits: Limits,
        meter: UsageMeter,
        budget: RunBudget | None = None,
    ) -> None:
        self._candidate = candidate
        self._name = candidate.name
        self._attempt = attempt
        self._request = question
        self._limits = limits
        self._meter = meter
        self._token_limit = min(limits.token_budget, meter.token_limit or limits.token_budget)
        self._budget = budget
        self._reservation: CallReservation | None = None
        self._used = Used()
        self._stream: AsyncIterator[TResponseStreamEvent] = question.send(candidate.model, attempt)
        self._call_ids = CallIds(question.call_ids())
        self._buffered: list[TResponseStreamEvent] = []
        self._output_characters = 0
        self._is_finished = False
        meter.is_truncated = False

    @cached_property
    def _input_characters(self) -> int:
        return input_characters(self._request, self._meter.schema_sizes)

    async def start(self) -> None:
        """Wait for the first token; raises the failure when there is none, named and logged."""
        with self._named_failures(has_begun=False):
            if self._meter.tokens >= self._token_limit:
                raise TokenBudgetExceeded
            await self._reserve()
            try:
                async with asyncio.timeout(self._limits.first_token_seconds):
                    while not self._buffered or self._buffered[-1].type in BEFORE_FIRST_TOKEN:
                        self._buffered.append(self._observe(await self._next()))
            except BaseException:
                await self.close()
                raise

    async def _reserve(self) -> None:
        """Reserve what the call may use; raises QuotaExceeded, BillingUnavailable."""
        if self._budget is not None:
            input_tokens = estimated_tokens(self._input_characters)
            max_tokens = self._request.model_settings.max_tokens
            self._reservation = await self._budget.reserve(
                self._name, input_tokens, max_tokens, is_own_key=self._candidate.is_own_key
            )

    async def _cover(self, reservation: CallReservation) -> None:
        """Reserve more where the answer is longer than expected; raises QuotaExceeded."""
        await reservation.cover(estimated_tokens(self._output_characters))

    async def events(self) -> AsyncGenerator[TResponseStreamEvent, None]:
        """Return the whole answer; raises the failure by which it breaks off, named and logged."""
        limit = WaitLimit(self._limits.between_tokens_seconds)
        try:
            with self._named_failures(has_begun=True):
                for event in self._buffered:
                    yield event
                while not self._is_finished:
                    with limit:
                        event = self._observe(await self._next())
                    if self._reservation is not None:
                        await self._cover(self._reservation)
                    yield event
        finally:
            limit.close()
            await self.close()

    def _named_failures(self, *, has_begun: bool) -> AbstractContextManager[None]:
        candidate = self._candidate
        return failure_log.named_failures(
            model=candidate.name,
            host=candidate.host,
            attempt=self._attempt,
            has_begun=has_begun,
            is_own_key=candidate.is_own_key,
        )

    async def close(self) -> None:
        """Close the stream; usage that the provider has not reported is estimated."""
        if not self._is_finished:
            self._is_finished = True
            if self._buffered:  # else the provider never confirmed the request
                self._used = self._estimate()
        self._settle()
        closing: Any = getattr(self._stream, "aclose", None)
        if closing is not None:
            with contextlib.suppress(Exception):  # it is over; how it ended is reported already
                await closing()

    def _estimate(self) -> Used:
        return self._meter.estimate(
            self._name,
            self._input_characters,
            self._output_characters,
            is_own_key=self._candidate.is_own_key,
        )

    def _settle(self) -> None:
        if self._reservation is not None:
            self._reservation.settle(*self._used)
            self._reservation = None

    async def _next(self) -> TResponseStreamEvent:
        try:
            return await anext(self._stream)
        except StopAsyncIteration as error:
            raise ModelUnavailable from error

    def _observe(self, event: TResponseStreamEvent) -> TResponseStreamEvent:
        """Record an event; raises the failure that it reports."""
        delta = getattr(event, "delta", None)
        if isinstance(delta, str):
            self._count_output(delta)
            return event
        self._call_ids.ensure(event)
        return self._finish(event) if isinstance(event, Ending) else event

    def _count_output(self, delta: str) -> None:
        self._output_characters += len(delta)
        used = estimated_tokens(self._input_characters) + estimated_tokens(self._output_characters)
        if self._meter.tokens + used > self._token_limit:
            raise TokenBudgetExceeded

    def _finish(self, event: Ending) -> TResponseStreamEvent:
        """Count the answer and return its last event; raises the failure that it reports."""
        usage = None if isinstance(event, ResponseErrorEvent) else event.response.usage
        self._is_finished = True
        if usage is None:
            self._used = self._estimate()
        else:
            self._used = self._meter.count(self._name, usage, is_own_key=self._candidate.is_own_key)
        if isinstance(event, ResponseIncompleteEvent):
            return self._truncated(event)
        if not isinstance(event, ResponseCompletedEvent):
            raise reported_failure(event)
        if not event.response.output and not self._output_characters:
            raise ModelFailed("The model's answer was empty.")
        return event

    def _truncated(self, event: ResponseIncompleteEvent) -> TResponseStreamEvent:
        """Return an answer that was cut at a limit of tokens as an end; raises ModelAnswerIncomplete."""
        response = event.response
        reason = getattr(response.incomplete_details, "reason", None)
        if reason != "max_output_tokens" or not is_text(response.output):
            raise ModelAnswerIncomplete
        self._meter.is_truncated = True
        return ResponseCompletedEvent(
            type="response.completed", response=response, sequence_number=event.sequence_number
        )


def is_text(output: Sequence[Any]) -> bool:
    """Return whether an answer has text and calls nothing: a call that was cut cannot be made."""
    kinds = {item.type for item in output}
    return "message" in kinds and "function_call" not in kinds


def reported_failure(event: ResponseFailedEvent | ResponseErrorEvent) -> ServiceError:
    """Return the failure that the provider reported."""
    error: Any = event if isinstance(event, ResponseErrorEvent) else event.response.error
    return PROVIDER_ERRORS.get(getattr(error, "code", None) or "server_error", ModelRefusedRequest)()
