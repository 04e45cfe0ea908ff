"""Applies the patterns of guardrails to all that a caller sends and a model reads, before it is stored."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from chat_agent.event_log.recovery import join_text
from chat_agent.guardrails.checks import Check, checks_of
from chat_agent.guardrails.config import STAGES, GuardrailConfig
from chat_agent.guardrails.text_files import text_file
from chat_agent.guardrails.text_filter import TextFilter, filtered_arguments, filtered_json
from chat_agent.items import Item, is_call
from chat_agent.schemas import Stage

# Characters that are checked before others get their turn: some milliseconds.
CHUNK = 16_000
# Whoever calls may write anything as an instruction, too.
WRITTEN_BY_CALLERS = frozenset({"user", "system", "developer"})
MESSAGE: tuple[Stage, ...] = ("pre_flight", "input")


async def masked(text: str, checks: Sequence[Check], stage: Stage) -> str:
    """Return a text with its masks; raises GuardrailTriggered."""
    text_filter, passed = TextFilter(checks, stage), []
    for start in range(0, len(text), CHUNK):
        passed.append(text_filter.feed(text[start : start + CHUNK]))
        await asyncio.sleep(0)
    return "".join([*passed, text_filter.finish()])


class MessageGuard:
    """Applies to each text the checks of the stage that fits, whoever says that it is theirs.

    A caller may send a history of its own: what it gives out as answers is checked as answers are, calls of
    tools and their outputs as those of tools are, and all else as messages.
    """

    def __init__(self, config: GuardrailConfig, *, masks_only: bool = False) -> None:
        self._checks = {stage: checks_of(getattr(config, stage)) for stage in STAGES}
        if masks_only:
            self._checks = {
                stage: tuple(one for one in checks if one.mask) for stage, checks in self._checks.items()
            }
        # Whether there is nothing to check.
        self.is_empty = not any(self._checks.values())

    async def text(self, text: str, stages: Sequence[Stage] = MESSAGE) -> str:
        """Return a text with its masks; raises GuardrailTriggered."""
        for stage in stages:
            if checks := self._checks[stage]:
                text = await masked(text, checks, stage)
        return text

    async def json(self, value: Any, stages: Sequence[Stage] = MESSAGE) -> Any:
        """Return a JSON value with the masks of its texts, numbers and names; raises GuardrailTriggered."""
        for stage in stages:
            if checks := self._checks[stage]:
                value = await asyncio.to_thread(filtered_json, value, checks, stage)
        return value

    async def require_clean(self, text: str, stages: Sequence[Stage] = MESSAGE) -> None:
        """Check a text that means nothing with a mask in it, such as a name; raises GuardrailTriggered."""
        for stage in stages:
            if checks := [replace(one, mask=None) for one in self._checks[stage]]:
                await masked(text, checks, stage)

    async def arguments(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """Return what a person calls a tool with, with its masks; raises GuardrailTriggered."""
        checked: dict[str, Any] = await self.json(arguments, (*MESSAGE, "tool"))
        return checked

    async def parts(self, parts: Sequence[Item], stages: Sequence[Stage] = MESSAGE) -> Sequence[Any]:
        """Return the parts of a message with their masks; raises GuardrailTriggered.

        What is split over texts is found as in one, and then stands in the first of them.
        """
        parts = [await self._part(part, stages) for part in parts]
        texts = [index for index, part in enumerate(parts) if isinstance(part.get("text"), str)]
        whole = "".join(parts[index]["text"] for index in texts)
        if len(texts) < 2 or (clean := await self.text(whole, stages)) == whole:
            return parts
        parts[texts[0]] = {**parts[texts[0]], "text": clean}
        return [part for index, part in enumerate(parts) if index not in texts[1:]]

    async def _part(self, part: Item, stages: Sequence[Stage]) -> Item:
        """Return a part with the masks of its text and its name."""
        # Of a link to an image, as `attachments.uploads` has it.
        if (url := getattr(part.get("upload"), "url", None)) is not None:
            await self.require_clean(url, stages)
        for name in ("text", "refusal", "filename"):
            if isinstance(text := part.get(name), str):
                part = {**part, name: await self.text(text, stages)}
        return part

    async def history(self, items: Sequence[Item]) -> Sequence[Any]:
        """Return items with their masks; raises GuardrailTriggered."""
        return [await self._item(item) for item in items]

    async def files(self, items: Sequence[Item]) -> list[Any]:
        """Return what a model is sent with the masks of the files in it; raises GuardrailTriggered."""
        return [
            {**item, "content": [await self._file(part) for part in item["content"]]}
            if has_file_data(item)
            else item
            for item in items
        ]

    async def _file(self, part: Item) -> Item:
        file = await asyncio.to_thread(text_file, part) if "file_data" in part else None
        if file is None or (clean := await self.text(file.text)) == file.text:
            return part
        return {**part, "file_data": file.data_url(clean)}

    async def _item(self, item: Item) -> Item:
        if is_written_by_model(item):
            return item
        match item.get("type", "message"):
            case "message" if item.get("role") in WRITTEN_BY_CALLERS:
                return await self._message(item, MESSAGE)
            case "message":
                return await self._message(item, ("output",))
            case "function_call":
                return await self._call(item)
            case "function_call_output":
                return {**item, "output": await self.text(str(item["output"]), ("tool",))}
        return item

    async def _message(self, item: Item, stages: Sequence[Stage]) -> Item:
        content = item.get("content")
        if isinstance(content, str):
            return {**item, "content": await self.text(content, stages)}
        return {**item, "content": await self.parts(content, stages)} if isinstance(content, list) else item

    async def _call(self, item: Item) -> Item:
        await self.require_clean(item["name"], ("tool",))
        checks = self._checks["tool"]
        arguments = await asyncio.to_thread(filtered_arguments, item["arguments"], checks)
        return {**item, "arguments": arguments}


def is_written_by_model(item: Item) -> bool:
    """Return whether a model of this service has written an answer or a call, which was checked then.

    What protocols read of a caller's history has no ids.
    """
    is_answer = item.get("role") == "assistant" or is_call(item)
    return is_answer and "id" in item


def has_file_data(item: Item) -> bool:
    """Return whether a message has the content of a file."""
    content = item.get("content")
    return isinstance(content, list) and any("file_data" in part for part in content)


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
