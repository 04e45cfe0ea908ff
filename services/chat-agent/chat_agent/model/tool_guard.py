"""Applies the guardrails of `tool`: to the arguments of calls, and to what tools give."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from chat_agent.guardrails.checks import Check, checks_of
from chat_agent.guardrails.config import GuardrailConfig
from chat_agent.guardrails.messages import masked, turns_of
from chat_agent.items import Item
from chat_agent.model.judge import Judges


@dataclass(frozen=True)
class ToolGuard:
    """Checks what tools give."""

    checks: Sequence[Check]
    judges: Judges

    @classmethod
    def of(cls, config: GuardrailConfig, judges: Judges) -> "ToolGuard | None":
        """Return that of a configuration; none where there is nothing to check."""
        checks = checks_of(config.tool)
        is_needed = checks or judges.injection or judges.checks.get("tool")
        return cls(checks, judges) if is_needed else None

    async def output(self, text: str, items: Callable[[], Awaitable[Sequence[Item]]]) -> str:
        """Return an output with its masks; raises GuardrailTriggered, GuardrailUnavailable."""
        text = await masked(text, self.checks, "tool")
        if self.judges.injection or self.judges.checks.get("tool"):
            await self.judges.check_outputs([text], turns_of(await items()))
        return text
