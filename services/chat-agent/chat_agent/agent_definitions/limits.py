"""What a run may use: the limits of the service, and of the agent that it began with."""

from dataclasses import dataclass

from chat_agent.agent_definitions.selection import AgentSelection
from chat_agent.settings import Settings


@dataclass(frozen=True)
class RunLimits:
    """What one run may use."""

    turns: int
    seconds: float
    tokens: int


def service_limits(settings: Settings) -> RunLimits:
    """Return what any run may use."""
    return RunLimits(settings.run_max_turns, settings.run_timeout_seconds, settings.run_token_budget)


def limits_of(selection: AgentSelection, settings: Settings) -> RunLimits:
    """Return what a run of an agent may use; an agent can only lower the limits of the service."""
    most, own = service_limits(settings), selection.first
    if own is None:
        return most
    return RunLimits(
        turns=min(most.turns, own.limits.turns or most.turns),
        seconds=min(most.seconds, own.limits.seconds or most.seconds),
        tokens=min(most.tokens, own.limits.tokens or most.tokens),
    )
