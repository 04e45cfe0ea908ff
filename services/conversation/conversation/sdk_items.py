"""Read the messages among the items of the Agents SDK.

Its items are those of the Responses API (platform.openai.com/docs/api-reference/responses).
"""

from collections.abc import Mapping

from pydantic import JsonValue

MESSAGE_ROLES = ("user", "assistant")


def message_text(data: Mapping[str, JsonValue]) -> tuple[str, str] | None:
    """Return the role and the text of a message, or None for calls, their outputs and reasoning."""
    role, content = data.get("role"), data.get("content")
    if not isinstance(role, str) or role not in MESSAGE_ROLES:
        return None
    text = content if isinstance(content, str) else "\n".join(text_parts(content))
    return (role, text) if text.strip() else None


def text_parts(content: JsonValue) -> list[str]:
    """Return the texts of a message's content."""
    parts = [part for part in content if isinstance(part, dict)] if isinstance(content, list) else []
    texts = [part.get("text", part.get("refusal")) for part in parts]
    return [text for text in texts if isinstance(text, str)]
