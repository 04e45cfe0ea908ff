"""How long messages may be: by a setting, and by the context of the model."""

from collections.abc import Mapping, Sequence
from typing import Any

from chat_agent.clients.billing import RequestLimits
from chat_agent.errors import AttachmentsTooLarge, MessageTooLong
from chat_agent.settings import Settings

Items = Sequence[Mapping[str, Any]]

# A text of more is longer than a context for certain; what is shorter, the provider decides.
MAX_CHARACTERS_PER_TOKEN = 8


def message_lengths(message: str, prelude: Items) -> list[int]:
    """Return how many characters a message has, and each of those before it."""
    return [len(message), *map(text_length, prelude)]


def check_length(settings: Settings, model: str, message: str, prelude: Items) -> None:
    """Raise MessageTooLong for a message above the limit, or for more text than fits into the model."""
    lengths = message_lengths(message, prelude)
    most = settings.max_message_characters
    if max(lengths) > most:
        raise MessageTooLong(f"A message has at most {most} characters.")
    tokens = settings.model_context_lengths.get(model)
    if tokens is not None and sum(lengths) > tokens * MAX_CHARACTERS_PER_TOKEN:
        raise MessageTooLong(f"The messages do not fit into the model's {tokens} tokens.")


def check_plan(limits: RequestLimits, message: str, prelude: Items, attachment_bytes: int) -> None:
    """Raise MessageTooLong or AttachmentsTooLarge for more than the tenant's plan allows."""
    most = limits.message_characters
    if most is not None and max(message_lengths(message, prelude)) > most:
        raise MessageTooLong(f"A message has at most {most} characters in your plan.")
    if limits.attachment_bytes is not None and attachment_bytes > limits.attachment_bytes:
        raise AttachmentsTooLarge(limits.attachment_bytes)


def text_length(item: Mapping[str, Any]) -> int:
    """Return how many characters a message has."""
    content = item.get("content") or ""
    parts = [content] if isinstance(content, str) else [part.get("text") or "" for part in content]
    return sum(map(len, parts))
