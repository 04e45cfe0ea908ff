"""Applies the guardrails of `pre_flight` and `input` to what people write, before anything is stored."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from chat_agent.guardrails.checks import checks_of
from chat_agent.guardrails.config import GuardrailConfig, Stage
from chat_agent.guardrails.text_filter import TextFilter

# Characters that are checked before others get their turn: some milliseconds.
CHUNK = 16_000


class MessageGuard:
    """Applies the checks of both stages."""

    def __init__(self, config: GuardrailConfig) -> None:
        stages: tuple[Stage, ...] = ("pre_flight", "input")
        checks = {stage: checks_of(getattr(config, stage)) for stage in stages}
        self._checks = {stage: found for stage, found in checks.items() if found}

    async def text(self, text: str) -> str:
        """Return a text with its masks; raises GuardrailTriggered."""
        for stage, checks in self._checks.items():
            text_filter, passed = TextFilter(checks, stage), []
            for start in range(0, len(text), CHUNK):
                passed.append(text_filter.feed(text[start : start + CHUNK]))
                await asyncio.sleep(0)
            text = "".join([*passed, text_filter.finish()])
        return text

    async def parts(self, parts: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Return the parts of a message with the masks of their texts; raises GuardrailTriggered."""
        return [
            {**part, "text": await self.text(part["text"])} if isinstance(part.get("text"), str) else {**part}
            for part in parts
        ]

    async def history(self, items: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Return items with the masks of what a person wrote; raises GuardrailTriggered."""
        return [await self._message(item) if item.get("role") == "user" else {**item} for item in items]

    async def _message(self, item: Mapping[str, Any]) -> dict[str, Any]:
        content = item.get("content")
        if isinstance(content, str):
            return {**item, "content": await self.text(content)}
        return {**item, "content": await self.parts(content)} if isinstance(content, list) else {**item}
