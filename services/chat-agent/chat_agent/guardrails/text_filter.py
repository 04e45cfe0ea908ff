"""Checks a text that arrives in pieces: what may belong to a match is held back until that is known."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import orjson
import regex
from servicekit.errors import ServiceError

from chat_agent.errors import GuardrailTriggered, GuardrailUnavailable
from chat_agent.guardrails.checks import Check
from chat_agent.guardrails.keyword_list import Occurrence
from chat_agent.guardrails.reading import Reading, last_visible
from chat_agent.json_values import map_json
from chat_agent.schemas import Stage

# A match may go on after separators: two and a digit in a phone number.
LOOKAHEAD = 3


# What is checked at a stage.
TEXTS: Mapping[Stage, str] = {
    "pre_flight": "message",
    "input": "message",
    "output": "answer",
    "tool": "call of a tool",
}


def triggered(guardrail: str, stage: Stage) -> GuardrailTriggered:
    """Return the error of a guardrail that does not allow a text."""
    detail = f"The guardrail {guardrail!r} does not allow this {TEXTS[stage]}."
    return GuardrailTriggered(detail, guardrail=guardrail, stage=stage)


def is_about_message(failure: ServiceError) -> bool:
    """Return whether a failure says that what a person wrote is not allowed, or could not be checked."""
    if not isinstance(failure, GuardrailTriggered | GuardrailUnavailable):
        return False
    return failure.is_about_request or failure.extensions.get("stage") in {"pre_flight", "input"}


@contextmanager
def about_request() -> Iterator[None]:
    """Mark a guardrail's error, whatever its stage, as one about what the caller sent."""
    try:
        yield
    except (GuardrailTriggered, GuardrailUnavailable) as error:
        error.is_about_request = True
        raise


class CheckFilter:
    """Applies one check to a text."""

    def __init__(self, check: Check, stage: Stage) -> None:
        self._check = check
        self._stage = stage
        # The character that was passed on last, which patterns look at, and what is held back.
        self._text = ""
        self._start = 0

    def feed(self, text: str, read: Callable[[str], Reading], *, is_last: bool = False) -> str:
        """Add a piece; return what may be passed on. Raises GuardrailTriggered."""
        self._text += text
        reading = read(self._text)
        passed: list[str] = []
        position = self._start
        while match := self._check.pattern.search(reading.text, position, partial=not is_last):
            if not is_last and match.end() > len(reading.text) - LOOKAHEAD:
                return self._pass(passed, reading.start(match.start()))
            position = self._judge(match, reading, passed)
        return self._pass(passed, len(self._text))

    def _judge(self, match: regex.Match[str] | Occurrence, reading: Reading, passed: list[str]) -> int:
        """Mask a match, or end the run for it, where it is valid; return where to look on."""
        length = self._check.measure(match[0])
        if not length:
            return match.start() + 1
        if self._check.mask is None:
            raise self._triggered()
        end = match.start() + length
        passed += (self._text[self._start : reading.start(match.start())], self._check.mask)
        self._start = reading.end(end)
        return end

    def _triggered(self) -> GuardrailTriggered:
        return triggered(self._check.guardrail, self._stage)

    def _pass(self, passed: list[str], end: int) -> str:
        """Return what was passed, with what follows up to a position; hold the rest back."""
        passed.append(self._text[self._start : end])
        context = last_visible(self._text[:end])
        self._text, self._start = context + self._text[end:], len(context)
        return "".join(passed)


class TextFilter:
    """Applies the checks of a stage to a text, one after another."""

    def __init__(self, checks: Sequence[Check], stage: Stage) -> None:
        self._filters = [CheckFilter(check, stage) for check in checks]

    def feed(self, text: str) -> str:
        """Add a piece; return what may be passed on. Raises GuardrailTriggered."""
        return self._feed(text, is_last=False)

    def finish(self, text: str = "") -> str:
        """Add the last piece; return the rest. Raises GuardrailTriggered."""
        return self._feed(text, is_last=True)

    def _feed(self, text: str, *, is_last: bool) -> str:
        # Most checks get what the one before got: that is read once, and not kept for longer.
        read = lru_cache(1)(Reading.of)
        for one in self._filters:
            text = one.feed(text, read, is_last=is_last)
        return text


def filtered(text: str, checks: Sequence[Check], stage: Stage) -> str:
    """Return a whole text with its masks; raises GuardrailTriggered."""
    return TextFilter(checks, stage).finish(text)


def filtered_json(value: Any, checks: Sequence[Check], stage: Stage) -> Any:
    """Return a JSON value with the masks of its texts and numbers, and of the names of its members.

    Raises GuardrailTriggered.
    """

    def with_masks(value: Any) -> Any:
        if value is None or isinstance(value, bool):
            return value
        text = str(value)
        clean = filtered(text, checks, stage)
        return value if clean == text else clean

    return map_json(value, with_masks)


def filtered_arguments(arguments: str, checks: Sequence[Check]) -> str:
    """Return the arguments of a call with their masks; raises GuardrailTriggered."""
    try:
        value = orjson.loads(arguments)
        clean = filtered_json(value, checks, "tool")
    except (orjson.JSONDecodeError, RecursionError):
        return filtered(arguments, checks, "tool")
    whole = arguments if clean == value else orjson.dumps(clean).decode()
    # Of members with the same name, only the last one is in the value.
    return whole if filtered(whole, checks, "tool") == whole else orjson.dumps(clean).decode()
