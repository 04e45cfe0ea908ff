"""Whether a run has read content of others, who may have written instructions into it (prompt injection)."""

from collections.abc import Awaitable, Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

from chat_agent.compaction.block import is_summary_block
from chat_agent.items import called_tools, is_output


@dataclass
class Taint:
    """What one run has read; the conversation is looked through only when somebody asks."""

    # What the model sees of the conversation, also from earlier runs.
    items: Callable[[], Awaitable[Sequence[Mapping[str, Any]]]]
    # The names of the tools whose outputs nobody else writes.
    trusted_tools: Callable[[], Set[str]]
    # The tools that answered in earlier attempts; agents that are called as tools have called some of them.
    answered: Set[str]
    # Whether an untrusted tool has answered in this attempt.
    is_marked: bool = False
    _is_inherited: bool | None = None

    async def is_tainted(self) -> bool:
        """Return whether the run has read untrusted content."""
        if not self.is_marked and self._is_inherited is None:
            items, trusted = await self.items(), self.trusted_tools()
            self._is_inherited = not self.answered <= trusted or is_untrusted(items, trusted)
        return self.is_marked or bool(self._is_inherited)


def is_untrusted(items: Sequence[Mapping[str, Any]], trusted_tools: Set[str]) -> bool:
    """Return whether items hold the output of an untrusted tool, a file, or a summary of what may have.

    What a person writes and shows as images is their own; a file that they attach is often another's.
    """
    names = called_tools(items)
    return any(
        names.get(item["call_id"]) not in trusted_tools
        if is_output(item)
        else has_file(item) or is_summary_block(item)
        for item in items
    )


def has_file(item: Mapping[str, Any]) -> bool:
    """Return whether a message has a file attached."""
    content = item.get("content")
    return isinstance(content, list) and any(part.get("type") == "input_file" for part in content)
