"""What is left of a run when an agent with limits of its own takes over."""

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

from agents import Agent, RunContextWrapper, RunHooks
from servicekit.database import Database

from chat_agent.agent_definitions.definition import Limits
from chat_agent.agent_definitions.selection import AgentSelection
from chat_agent.agents.tool import RunContext
from chat_agent.clients.retry import retry_transaction
from chat_agent.errors import MaxTurnsExceeded
from chat_agent.model.usage import UsageMeter
from chat_agent.models import Run
from chat_agent.runs import leases

NO_LIMITS = Limits()


class HandoffLimits(RunHooks[RunContext]):
    """Lowers what is left of a run at each handoff, and never raises it."""

    def __init__(
        self,
        selection: AgentSelection,
        run: Run,
        database: Database,
        meter: UsageMeter,
        time_out: Callable[[], None],
    ) -> None:
        definitions = selection.definitions.items()
        self._limits = {
            name: one.limits
            for name, one in definitions
            if name != selection.name and one.limits != NO_LIMITS
        }
        self._run = run
        self._database = database
        self._meter = meter
        self._time_out = time_out
        self._turns_left: int | None = None
        self._timers: list[asyncio.TimerHandle] = []

    @property
    def hooks(self) -> RunHooks[RunContext] | None:
        """What the SDK calls; nothing where no agent has limits."""
        return self if self._limits else None

    def resume(self, agents: Iterable[str]) -> None:
        """Apply the limits of agents that were reached in the attempts before."""
        token_limit = self._run.token_limit
        for name in agents:
            self._lower(name, has_token_limit=token_limit is not None)
        if token_limit is not None:
            self._lower_tokens(token_limit)

    async def on_handoff(
        self,
        context: RunContextWrapper[RunContext],  # noqa: ARG002  # what the SDK passes
        from_agent: Agent[Any],  # noqa: ARG002
        to_agent: Agent[Any],
    ) -> None:
        """Apply the limits of an agent that takes over; that of tokens holds in all attempts."""
        before = self._meter.token_limit
        self._lower(to_agent.name)
        if self._meter.token_limit != before:
            self._run.token_limit = self._meter.token_limit
            await retry_transaction(self._database, leases.store_token_limit, self._run)

    async def on_llm_start(self, *_: object) -> None:
        """Count a turn; raises MaxTurnsExceeded."""
        if self._turns_left is None:
            return
        if self._turns_left == 0:
            raise MaxTurnsExceeded
        self._turns_left -= 1

    def close(self) -> None:
        """Stop the timers."""
        for timer in self._timers:
            timer.cancel()

    def _lower(self, agent: str, *, has_token_limit: bool = False) -> None:
        limits = self._limits.get(agent, NO_LIMITS)
        if limits.turns is not None:
            left = self._turns_left
            self._turns_left = limits.turns if left is None else min(limits.turns, left)
        if limits.seconds is not None:
            loop = asyncio.get_running_loop()
            self._timers.append(loop.call_later(limits.seconds, self._time_out))
        if limits.tokens is not None and not has_token_limit:
            self._lower_tokens(self._meter.tokens + limits.tokens)

    def _lower_tokens(self, limit: int) -> None:
        self._meter.token_limit = min(limit, self._meter.token_limit or limit)
