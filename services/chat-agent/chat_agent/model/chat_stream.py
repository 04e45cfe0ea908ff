"""The chunks of Chat Completions as OpenAI sends them, from what other servers send."""

from collections.abc import Iterator
from typing import Any

from chat_agent.model.json import InvalidModelResponse, Json, storable_object
from chat_agent.model.split_text import TextJoiner, storable_text
from chat_agent.model.tool_call_pieces import ToolCallPieces

TEXTS = ("content", "reasoning_content", "reasoning", "refusal")
FREQUENT_DELTA = {"role", *TEXTS}
# Where a part of a message has its text.
PART_TEXTS = ("text", "refusal")
COUNTS = ("prompt_tokens", "completion_tokens", "total_tokens")
DETAILS = ("prompt_tokens_details", "completion_tokens_details")
MAX_TOKENS = 2**53


class ChatStream:
    """Normalizes the chunks of one stream, of which only the first choice counts."""

    def __init__(self) -> None:
        self._texts = {name: TextJoiner() for name in TEXTS}
        self._calls = ToolCallPieces()

    def text_delta(self, choice: Any) -> Json | None:
        """Return the delta of a choice that has nothing but text, or None where there is more to it."""
        if not is_text(choice):
            return None
        delta = choice["delta"]
        return {
            name: self._feed(name, text) if text and name in TEXTS else text for name, text in delta.items()
        }

    def normalize(self, chunk: Json) -> Json:
        """Return any other chunk; raises InvalidModelResponse."""
        choices = chunk.get("choices") or []
        if not (isinstance(choices, list) and all(isinstance(each, dict) for each in choices)):
            raise InvalidModelResponse("choices are not objects")
        return {
            "id": identifier_of(chunk),
            "model": chunk.get("model") if isinstance(chunk.get("model"), str) else "",
            "usage": usage_of(chunk.get("usage")),
            "choices": [self._choice(choice) for choice in choices[:1]],
        }

    def _choice(self, choice: Json) -> Json:
        delta, reason = choice.get("delta") or {}, choice.get("finish_reason")
        if not isinstance(delta, dict):
            raise InvalidModelResponse("a delta is not an object")
        logprobs = choice.get("logprobs")
        normalized = dict(self._delta(delta))
        finish_reason = reason if isinstance(reason, str) and reason else None
        if finish_reason is not None:
            self._finish(normalized)
        return {
            "index": 0,
            "delta": normalized,
            "finish_reason": finish_reason,
            "logprobs": storable_object(logprobs) if isinstance(logprobs, dict) else None,
        }

    def _delta(self, delta: Json) -> Iterator[tuple[str, Any]]:
        """Yield the fields of a delta that are known."""
        if isinstance(delta.get("role"), str):
            yield "role", "assistant"
        parts = delta.get("content")
        for name in TEXTS:
            text = text_of(delta.get(name)) or (thoughts_of(parts) if name == "reasoning_content" else None)
            if text is not None:
                yield name, self._feed(name, text)
        calls = delta.get("tool_calls") or []
        if not (isinstance(calls, list) and all(isinstance(call, dict) for call in calls)):
            raise InvalidModelResponse("tool calls are not objects")
        if calls:
            yield "tool_calls", self._calls.place(calls)

    def _feed(self, name: str, text: str) -> str:
        return self._texts[name].feed(text)

    def _finish(self, delta: Json) -> None:
        """Complete the texts of the last chunk."""
        for name, joiner in self._texts.items():
            if joiner.is_waiting:
                delta[name] = (delta.get(name) or "") + joiner.finish()


def identifier_of(chunk: Json) -> str:
    """Return the id of an answer, or nothing."""
    return storable_text(chunk["id"]) if isinstance(chunk.get("id"), str) else ""


def is_text(choice: Any) -> bool:
    """Return whether nothing has come but a piece of text."""
    if not isinstance(choice, dict):
        return False
    delta = choice.get("delta")
    return (
        isinstance(delta, dict)
        and choice.get("index") == 0
        and choice.get("finish_reason") is None
        and choice.get("logprobs") is None
        and delta.keys() <= FREQUENT_DELTA
        and all(part is None or isinstance(part, str) for part in delta.values())
    )


def text_of(value: Any) -> str | None:
    """Return a text that may be a list of parts; raises InvalidModelResponse for what is none."""
    if value is None or isinstance(value, str):
        return value
    parts = value if isinstance(value, list) else [value]
    if not all(isinstance(part, dict | str) for part in parts):
        raise InvalidModelResponse("a text is not one")
    return "".join(part if isinstance(part, str) else part_text(part) for part in parts)


def thoughts_of(parts: Any) -> str | None:
    """Return the reasoning that is a part of the content, if there is any."""
    thoughts = [
        text_of(part["thinking"])
        for part in (parts if isinstance(parts, list) else [])
        if isinstance(part, dict) and part.get("thinking") is not None
    ]
    return "".join(filter(None, thoughts)) or None


def part_text(part: Json) -> str:
    """Return the text of a part; none of what is no text."""
    return next((part[name] for name in PART_TEXTS if isinstance(part.get(name), str)), "")


def usage_of(usage: Any) -> Json | None:
    """Return what was used, as numbers; none where nothing can be read of it."""
    if not isinstance(usage, dict) or not any(is_count(usage.get(name)) for name in COUNTS):
        return None
    counts = {name: count_of(usage.get(name)) for name in COUNTS}
    return {**usage, **counts, **{name: details_of(usage.get(name)) for name in DETAILS}}


def details_of(details: Any) -> Json | None:
    """Return the numbers of a part of the usage."""
    if not isinstance(details, dict):
        return None
    return {name: value for name, value in details.items() if is_count(value)}


def is_count(value: Any) -> bool:
    """Return whether a value is a number of tokens."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < MAX_TOKENS


def count_of(value: Any) -> int:
    """Return a number of tokens; 0 of what is none."""
    return int(value) if is_count(value) else 0
