"""One call of a model: timed, counted however it ends, and with a name for every failure."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import dataclass
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
    BillingUnavailable,
    ModelAnswerIncomplete,
    ModelFailed,
    ModelRateLimited,
    ModelRefusedRequest,
    ModelTimedOut,
    ModelUnavailable,
    QuotaExceeded,
    TokenBudgetExceeded,
)
from chat_agent.model import failure_log, failures
from chat_agent.model.call_ids import CallIds
from chat_agent.model.request import ModelRequest
from chat_agent.model.usage import UsageMeter, Used, estimated_tokens

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


@dataclass(frozen=True)
class Limits:
    """How long a model may take, and how much a run may use."""

    first_token_seconds: float
    between_tokens_seconds: float
    token_budget: int


# Limits that refuse a call before the model is asked: nothing is wrong with the model.
LIMIT_ERRORS = (TokenBudgetExceeded, QuotaExceeded, BillingUnavailable)


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
        self._budget = budget
        self._reservation: CallReservation | None = None
        self._used = Used()
        self._stream: AsyncIterator[TResponseStreamEvent] = question.send(candidate.model, attempt)
        self._call_ids = CallIds(question.call_ids())
        self._buffered: list[TResponseStreamEvent] = []
        self._output_characters = 0
        self._is_finished = False
        self._has_started = False
        meter.is_truncated = False

    async def start(self) -> None:
        """Wait for the first token; raises the failure when there is none."""
        if self._meter.tokens >= self._limits.token_budget:
            raise TokenBudgetExceeded
        await self._reserve()
        try:
            async with asyncio.timeout(self._limits.first_token_seconds):
                while not self._buffered or self._buffered[-1].type in BEFORE_FIRST_TOKEN:
                    self._buffered.append(self._observe(await anext(self._stream)))
        except StopAsyncIteration as error:
            await self.close()
            raise ModelUnavailable from error
        except TimeoutError as error:
            await self.close()
            raise ModelTimedOut from error
        except BaseException:
            await self.close()
            raise

    async def _reserve(self) -> None:
        """Reserve what the call may use; raises QuotaExceeded, BillingUnavailable."""
        if self._budget is not None:
            input_tokens = estimated_tokens(self._request.characters)
            max_tokens = self._request.model_settings.max_tokens
            self._reservation = await self._budget.reserve(self._name, input_tokens, max_tokens)

    async def _cover(self) -> None:
        """Reserve more where the answer is longer than expected; raises QuotaExceeded."""
        if self._reservation is not None:
            await self._reservation.cover(estimated_tokens(self._output_characters))

    async def events(self) -> AsyncGenerator[TResponseStreamEvent, None]:
        """Return the whole answer."""
        self._has_started = True
        try:
            for event in self._buffered:
                yield event
            while not self._is_finished:
                event = self._observe(await self._next())
                await self._cover()
                yield event
        except Exception as error:
            if (failure := self.record_failure(error)) is error:
                raise
            raise failure from error
        finally:
            await self.close()

    def record_failure(self, error: Exception) -> ServiceError:
        """Log and count why the call failed, unless the limit was ours; return the failure's name."""
        failure = failures.from_model_error(error)
        if failure is not error:
            failure.__cause__ = error
        if not isinstance(failure, LIMIT_ERRORS):
            failure_log.model_failed(
                error,
                failure,
                model=self._name,
                host=self._candidate.host,
                attempt=self._attempt,
                has_begun=self._has_started,
            )
        return failure

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
        return self._meter.estimate(self._name, self._request.characters, self._output_characters)

    def _settle(self) -> None:
        if self._reservation is not None:
            self._reservation.settle(*self._used)
            self._reservation = None

    async def _next(self) -> TResponseStreamEvent:
        try:
            async with asyncio.timeout(self._limits.between_tokens_seconds):
                return await anext(self._stream)
        except StopAsyncIteration as error:
            raise ModelUnavailable from error
        except TimeoutError as error:
            raise ModelTimedOut from error

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
        used = estimated_tokens(self._request.characters) + estimated_tokens(self._output_characters)
        if self._meter.tokens + used > self._limits.token_budget:
            raise TokenBudgetExceeded

    def _finish(self, event: Ending) -> TResponseStreamEvent:
        """Count the answer and return its last event; raises the failure that it reports."""
        usage = None if isinstance(event, ResponseErrorEvent) else event.response.usage
        self._is_finished = True
        self._used = self._estimate() if usage is None else self._meter.count(self._name, usage)
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
