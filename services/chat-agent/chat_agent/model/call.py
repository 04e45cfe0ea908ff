"""One call of a model: timed, counted however it ends, and with a name for every failure."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
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

from chat_agent.errors import (
    ModelAnswerIncomplete,
    ModelFailed,
    ModelRateLimited,
    ModelRefusedRequest,
    ModelTimedOut,
    ModelUnavailable,
    TokenBudgetExceeded,
)
from chat_agent.model import failure_log, failures
from chat_agent.model.call_ids import CallIds
from chat_agent.model.request import Question
from chat_agent.model.usage import UsageMeter, estimated_tokens

# What comes before the first word. It is held back: what follows may fail, and then somebody else may begin.
PRELUDE = {
    "response.created",
    "response.in_progress",
    "response.queued",
    "response.output_item.added",
    "response.content_part.added",
    "response.reasoning_summary_part.added",
}
Ending = ResponseCompletedEvent | ResponseFailedEvent | ResponseIncompleteEvent | ResponseErrorEvent
# What a provider calls its own trouble, once it has begun to answer; anything else is about the request.
TROUBLE: dict[str, type[ServiceError]] = {
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


class Call:
    """A question on its way to a model, and the answer on its way back."""

    def __init__(
        self, candidate: Candidate, question: Question, attempt: int, limits: Limits, meter: UsageMeter
    ) -> None:
        self._candidate = candidate
        self._name = candidate.name
        self._attempt = attempt
        self._question = question
        self._limits = limits
        self._meter = meter
        self._stream: AsyncIterator[TResponseStreamEvent] = question.ask(candidate.model, attempt)
        self._call_ids = CallIds(question.call_ids())
        self._held: list[TResponseStreamEvent] = []
        self._spoken = 0
        self._is_over = False
        self._has_begun = False

    async def begin(self) -> None:
        """Wait for the first word; raises why there is none."""
        if self._meter.tokens >= self._limits.token_budget:
            raise TokenBudgetExceeded
        try:
            async with asyncio.timeout(self._limits.first_token_seconds):
                while not self._held or self._held[-1].type in PRELUDE:
                    self._held.append(self._heard(await anext(self._stream)))
        except StopAsyncIteration as error:
            await self.close()
            raise ModelUnavailable from error
        except TimeoutError as error:
            await self.close()
            raise ModelTimedOut from error
        except BaseException:
            await self.close()
            raise

    async def events(self) -> AsyncGenerator[TResponseStreamEvent, None]:
        """Give the whole answer."""
        self._has_begun = True
        try:
            for event in self._held:
                yield event
            while not self._is_over:
                yield self._heard(await self._next())
        except Exception as error:
            if (failure := self.failed(error)) is error:
                raise
            raise failure from error
        finally:
            await self.close()

    def failed(self, error: Exception) -> ServiceError:
        """Log and count why the call failed, unless the limit was ours; return the failure's name."""
        failure = failures.of_model(error)
        if failure is not error:
            failure.__cause__ = error
        if not isinstance(failure, TokenBudgetExceeded):
            failure_log.model_failed(
                error,
                failure,
                model=self._name,
                host=self._candidate.host,
                attempt=self._attempt,
                has_begun=self._has_begun,
            )
        return failure

    async def close(self) -> None:
        """Let go of the model; what it has not counted is estimated."""
        if not self._is_over:
            self._is_over = True
            if self._held:  # else it never said that it has heard the question
                self._meter.estimate(self._name, self._question.characters, self._spoken)
        closing: Any = getattr(self._stream, "aclose", None)
        if closing is not None:
            with contextlib.suppress(Exception):  # it is over; how it ended is told already
                await closing()

    async def _next(self) -> TResponseStreamEvent:
        try:
            async with asyncio.timeout(self._limits.between_tokens_seconds):
                return await anext(self._stream)
        except StopAsyncIteration as error:
            raise ModelUnavailable from error
        except TimeoutError as error:
            raise ModelTimedOut from error

    def _heard(self, event: TResponseStreamEvent) -> TResponseStreamEvent:
        """Take note of an event; raises the failure that it tells of."""
        delta = getattr(event, "delta", None)
        if isinstance(delta, str):
            self._speak(delta)
            return event
        self._call_ids.mend(event)
        if isinstance(event, Ending):
            self._end(event)
        return event

    def _speak(self, delta: str) -> None:
        self._spoken += len(delta)
        used = estimated_tokens(self._question.characters) + estimated_tokens(self._spoken)
        if self._meter.tokens + used > self._limits.token_budget:
            raise TokenBudgetExceeded

    def _end(self, event: Ending) -> None:
        told = None if isinstance(event, ResponseErrorEvent) else event.response.usage
        self._is_over = True
        if told is None:
            self._meter.estimate(self._name, self._question.characters, self._spoken)
        else:
            self._meter.count(self._name, told)
        if isinstance(event, ResponseIncompleteEvent):
            raise ModelAnswerIncomplete
        if not isinstance(event, ResponseCompletedEvent):
            raise told_failure(event)
        if not event.response.output and not self._spoken:
            raise ModelFailed("The model's answer was empty.")


def told_failure(event: ResponseFailedEvent | ResponseErrorEvent) -> ServiceError:
    """Name the failure that the provider itself tells of."""
    told: Any = event if isinstance(event, ResponseErrorEvent) else event.response.error
    return TROUBLE.get(getattr(told, "code", None) or "server_error", ModelRefusedRequest)()
