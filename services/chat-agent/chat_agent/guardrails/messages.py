"""Applies the guardrails of `pre_flight` and `input` to what people write, before anything is stored."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from chat_agent.event_log.recovery import join_text
from chat_agent.guardrails.checks import Check, checks_of
from chat_agent.guardrails.config import GuardrailConfig
from chat_agent.guardrails.text_filter import TextFilter, filtered_json
from chat_agent.schemas import Stage

# Characters that are checked before others get their turn: some milliseconds.
CHUNK = 16_000
Item = Mapping[str, Any]
# Whoever calls may write anything as an instruction, too.
WRITTEN_BY_CALLERS = frozenset({"user", "system", "developer"})


async def masked(text: str, checks: Sequence[Check], stage: Stage) -> str:
    """Return a text with its masks; raises GuardrailTriggered."""
    text_filter, passed = TextFilter(checks, stage), []
    for start in range(0, len(text), CHUNK):
        passed.append(text_filter.feed(text[start : start + CHUNK]))
        await asyncio.sleep(0)
    return "".join([*passed, text_filter.finish()])


class MessageGuard:
    """Applies the checks of both stages, and those of `tool` to what a caller's own tools gave."""

    def __init__(self, config: GuardrailConfig, *, masks_only: bool = False) -> None:
        stages: tuple[Stage, ...] = ("pre_flight", "input")
        checks = {stage: checks_of(getattr(config, stage)) for stage in stages}
        if masks_only:
            checks = {stage: tuple(one for one in those if one.mask) for stage, those in checks.items()}
        self._checks = {stage: found for stage, found in checks.items() if found}
        self._tool_checks = () if masks_only else checks_of(config.tool)
        # Whether there is nothing to check.
        self.is_empty = not self._checks and not self._tool_checks

    async def text(self, text: str) -> str:
        """Return a text with its masks; raises GuardrailTriggered."""
        for stage, checks in self._checks.items():
            text = await masked(text, checks, stage)
        return text

    async def arguments(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """Return what a person calls a tool with, with its masks; raises GuardrailTriggered."""
        for stage, checks in {**self._checks, "tool": self._tool_checks}.items():
            arguments = await asyncio.to_thread(filtered_json, arguments, checks, stage)
        return arguments

    async def parts(self, parts: Sequence[Item]) -> Sequence[Any]:
        """Return the parts of a message with the masks of their texts; raises GuardrailTriggered."""
        return [
            {**part, "text": await self.text(part["text"])} if isinstance(part.get("text"), str) else part
            for part in parts
        ]

    async def history(self, items: Sequence[Item]) -> Sequence[Any]:
        """Return items with the masks of what a person wrote and their tools gave.

        Raises GuardrailTriggered.
        """
        return [await self._item(item) for item in items]

    async def _item(self, item: Item) -> Item:
        if item.get("role") in WRITTEN_BY_CALLERS:
            return await self._message(item)
        if self._tool_checks and item.get("type") == "function_call_output":
            return {**item, "output": await masked(str(item["output"]), self._tool_checks, "tool")}
        return item

    async def _message(self, item: Item) -> Item:
        content = item.get("content")
        if isinstance(content, str):
            return {**item, "content": await self.text(content)}
        return {**item, "content": await self.parts(content)} if isinstance(content, list) else item


def newest_message(items: Sequence[Item]) -> int:
    """Return the index of the newest message of the person; their number where there is none."""
    places = [index for index, item in enumerate(items) if item.get("role") == "user"]
    return places[-1] if places else len(items)


def turns_of(items: Sequence[Item]) -> list[str]:
    """Return what was said, a text for each message."""
    return [
        f"{item['role']}: {join_text(item.get('content') or '')}"
        for item in items
        if item.get("role") in {"user", "assistant"}
    ]
