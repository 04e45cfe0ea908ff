"""What is said in an item of the Agents SDK.

Its items are those of the Responses API (platform.openai.com/docs/api-reference/responses).
"""

from collections.abc import Mapping

from pydantic import JsonValue

SPEAKERS = ("user", "assistant")


def said(data: Mapping[str, JsonValue]) -> tuple[str, str] | None:
    """Give who says what, or None: calls, their outputs and reasoning say nothing to the reader."""
    role, content = data.get("role"), data.get("content")
    if not isinstance(role, str) or role not in SPEAKERS:
        return None
    text = content if isinstance(content, str) else "\n".join(texts(content))
    return (role, text) if text.strip() else None


def texts(content: JsonValue) -> list[str]:
    """Give the texts among a message's parts."""
    parts = [part for part in content if isinstance(part, dict)] if isinstance(content, list) else []
    found = [part.get("text", part.get("refusal")) for part in parts]
    return [text for text in found if isinstance(text, str)]
