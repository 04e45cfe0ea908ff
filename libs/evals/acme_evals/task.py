"""What is evaluated: a conversation with an agent over the HTTP API, as a customer has it."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import httpx
from acme_client import AcmeClient, ApiError
from pydantic_evals.dataset import increment_eval_metric, set_eval_attribute
from pydantic_evals.evaluators import EvaluatorContext
from pydantic_evals.lifecycle import CaseLifecycle

from acme_evals.cases import Inputs, Messages
from acme_evals.trace import Trace

# What another try may change: the model's provider, and not the answer.
TRANSIENT = frozenset({"model_unavailable", "model_rate_limited", "model_timed_out", "worker_lost"})
TRACE: ContextVar[Trace] = ContextVar("trace")


class CaseFailed(Exception):
    """The run of a case gave no answer."""


class RunFailed(CaseFailed):
    """The run failed."""

    def __init__(self, run_id: str, code: str, detail: str) -> None:
        super().__init__(f"run {run_id}: {code}: {detail}")
        self.is_transient = code in TRANSIENT


@dataclass(frozen=True)
class Target:
    """The agent that cases are sent to."""

    client: AcmeClient
    agent: str
    timeout_seconds: float
    retries: int
    # Of every run, also of those that failed and were tried again; none where it is not known.
    costs: list[int | None] = field(default_factory=list)

    async def answer(self, inputs: Inputs) -> str:
        """Send a case in a new conversation, and return the last answer; raises CaseFailed."""
        tries = 0
        while True:
            trace = Trace()
            try:
                async with asyncio.timeout(self.timeout_seconds):
                    output = await self._converse(inputs, trace)
            except TimeoutError:
                await self._stop(trace)
                self.costs.append(None)
                raise CaseFailed(f"no answer within {self.timeout_seconds:g} s; see --timeout") from None
            except (ApiError, httpx.TransportError) as error:
                raise CaseFailed(str(error) or "the connection to the gateway broke") from error
            except RunFailed as error:
                tries += 1
                if tries > self.retries or not error.is_transient:
                    raise
            else:
                record(trace)
                return output

    async def _converse(self, inputs: Inputs, trace: Trace) -> str:
        sent = Messages(messages=[inputs]) if isinstance(inputs, str) else inputs
        output, conversation = "", dict[str, str]()
        for message in sent.messages:
            options: dict[str, Any] = {"agent_type": sent.agent or self.agent, **conversation}
            output = await self._send(message, options | variables_of(sent), trace)
            conversation = {"conversation_id": trace.conversation_id}
        return output

    async def _send(self, message: str, options: Mapping[str, Any], trace: Trace) -> str:
        last: Mapping[str, Any] = {}
        async for event in self.client.stream(message, **options):
            trace.add_event(event)
            last = event
        run_id = str(last["run_id"])
        run = await self.client.run(run_id)
        trace.add_run(dict(run))
        self.costs.append(run["cost"])
        if last["type"] == "run.waiting":
            await self._stop(trace)
            raise CaseFailed(f"run {run_id}: it waits for an approval of {', '.join(trace.approvals)}")
        if last["type"] != "run.completed":
            raise RunFailed(run_id, str(last.get("code", last["type"])), str(last.get("detail") or ""))
        return str(last["output"] or "")

    async def _stop(self, trace: Trace) -> None:
        with suppress(ApiError, httpx.TransportError):
            for run_id in trace.run_ids[-1:]:
                await self.client.cancel(run_id)


def variables_of(inputs: Messages) -> dict[str, Any]:
    """Return the variables of a case, if there are any."""
    return {"variables": inputs.variables} if inputs.variables else {}


def record(trace: Trace) -> None:
    """Store what the runs did with the case, for evaluators and the report."""
    TRACE.set(trace)
    for name, value in trace.attributes().items():
        set_eval_attribute(name, value)
    for name, number in trace.metrics().items():
        increment_eval_metric(name, number)


class RunSpans(CaseLifecycle[Inputs, Any, Any]):
    """Provides evaluators with the run's spans and its own duration, without the connection's."""

    async def prepare_context(self, ctx: EvaluatorContext[Any, Any, Any]) -> EvaluatorContext[Any, Any, Any]:
        """Put in place of this process's spans and time those of the run."""
        trace = TRACE.get()
        ctx._span_tree = trace.span_tree()  # pydantic-evals has no other way in
        ctx.duration = trace.duration_ms / 1000
        return ctx
