"""A model that is asked again, and another in its place, until one of them says the first word."""

import asyncio
import random
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any

from agents import Model, ModelResponse, ModelSettings, Usage
from agents.items import TResponseStreamEvent
from openai.types.responses import ResponseCompletedEvent
from servicekit.errors import ServiceError

from chat_agent.errors import (
    ModelFailed,
    ModelRateLimited,
    ModelRefusedRequest,
    ModelTimedOut,
    ModelUnavailable,
    TokenBudgetExceeded,
)
from chat_agent.model import failures
from chat_agent.model.call import Call, Candidate, Limits
from chat_agent.model.request import Question
from chat_agent.model.usage import METER, UsageMeter

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 8.0
# For longer than this nobody waits, whatever the provider asks for: others may do better.
LONGEST_RETRY_AFTER = 20.0
PASSING = (ModelUnavailable, ModelRateLimited, ModelTimedOut)
# A rate limit that no waiting ends.
UNPAID = "insufficient_quota"
# Asking somebody else would not help either.
FINAL = (ModelRefusedRequest, TokenBudgetExceeded)


class ResilientModel(Model):
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

    async def get_response(self, *asked: Any, **named: Any) -> ModelResponse:
        """Give the whole answer; it is streamed all the same, so that it is timed and counted alike."""
        async with aclosing(self.stream_response(*asked, **named)) as events:
            async for event in events:
                if isinstance(event, ResponseCompletedEvent):
                    return whole(event)
        raise ModelFailed

    async def stream_response(self, *asked: Any, **named: Any) -> AsyncGenerator[TResponseStreamEvent, None]:
        """Give the answer as it comes."""
        call = await self._begin(Question(*asked, **named))
        async with aclosing(call.events()) as events:
            async for event in events:
                yield event

    async def _begin(self, question: Question) -> Call:
        """Give the first call that has something to say; raises the failure of the last."""
        meter = METER.get() or UsageMeter()
        failure: ServiceError = ModelUnavailable()
        for candidate in self._candidates:
            asked = question.put_to(candidate.name, self._implicit)
            for attempt in range(self._max_retries + 1):
                call = Call(candidate, asked, attempt, self._limits, meter)
                try:
                    await call.begin()
                except Exception as error:  # whatever it is, it gets a name
                    failure = call.failed(error)
                else:
                    return call
                if attempt == self._max_retries or not await may_ask_again(failure, attempt):
                    break
            if isinstance(failure, FINAL):
                break
        raise failure


async def may_ask_again(failure: ServiceError, attempt: int) -> bool:
    """Wait as long as is decent and tell whether asking the same model again makes sense."""
    wait = failures.asked_to_wait(failure.__cause__)
    is_passing = isinstance(failure, PASSING) and getattr(failure.__cause__, "code", None) != UNPAID
    if not is_passing or wait > LONGEST_RETRY_AFTER:
        return False
    longest = min(FIRST_PAUSE * 2**attempt, LONGEST_PAUSE)
    await asyncio.sleep(max(wait, random.uniform(longest / 2, longest)))  # noqa: S311  # jitter
    return True


def whole(event: ResponseCompletedEvent) -> ModelResponse:
    """Make the answer that the SDK wants from the last event of its stream."""
    told = event.response.usage
    usage = Usage(requests=1)
    if told is not None:
        usage = Usage(
            requests=1,
            input_tokens=told.input_tokens or 0,
            output_tokens=told.output_tokens or 0,
            total_tokens=told.total_tokens or 0,
            input_tokens_details=told.input_tokens_details,
            output_tokens_details=told.output_tokens_details,
        )
    return ModelResponse(output=event.response.output, usage=usage, response_id=event.response.id)
