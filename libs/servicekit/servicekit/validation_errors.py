"""Validation errors for clients: they name places in the request, and nothing internal."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from pydantic import JsonValue

# An error answer has 4 KiB at most: so many errors, places so deep and texts so long.
MAX_ERRORS, MAX_ERRORS_BYTES = 8, 2560
# In characters, each of which may have four bytes.
MAX_SENTENCE = 300
MAX_LOC, MAX_LOC_PART, MAX_MESSAGE = 8, 48, 200

OBJECT, ARRAY = "Input should be an object", "Input should be an array"
# Where pydantic's own message names a class or a type of Python.
MESSAGES = {
    "model_type": OBJECT,
    "model_attributes_type": OBJECT,
    "dataclass_type": OBJECT,
    "dict_type": OBJECT,
    "mapping_type": OBJECT,
    "list_type": ARRAY,
    "tuple_type": ARRAY,
    "set_type": ARRAY,
    "none_required": "Input should be null",
}
PREFIXES = ("Value error, ", "Assertion failed, ")
WORDS = (("Dictionary should", "Object should"), ("List should", "Array should"), (" after validation", ""))


def first_errors(errors: Iterable[Mapping[str, Any]], body: object = None) -> Iterator[dict[str, JsonValue]]:
    """Return the first validation errors, up to a maximum, without the invalid values.

    A value may be a password.
    """
    room = MAX_ERRORS_BYTES
    for one in islice(errors, MAX_ERRORS):
        public: dict[str, JsonValue] = {
            "loc": [shorten(step) for step in place_of(one, body)[:MAX_LOC]],
            "msg": truncate(message_of(one), MAX_MESSAGE),
            "type": one["type"],
        }
        room -= len(json.dumps(public, ensure_ascii=False).encode())
        if room < 0:
            return
        yield public


def sentence(errors: Sequence[Mapping[str, Any]]) -> str:
    """Return what is wrong at the first place, and that there is more."""
    first = errors[0]
    more = " More of them are in `errors`." if len(errors) > 1 else ""
    text = f"{parameter_name(first['loc']) or 'body'}: {first['msg']}"
    return truncate(text, MAX_SENTENCE - len(more) - 1) + f".{more}"


def parameter_name(location: Iterable[str | int]) -> str:
    """Return the path of an invalid value, such as `messages[0].role`, without where it was sent (`body`)."""
    _source, *steps = location
    path = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps)
    return path.removeprefix(".")


def shorten(step: str | int) -> str | int:
    """Shorten a step of a location."""
    return step if isinstance(step, int) else truncate(step, MAX_LOC_PART)


def place_of(error: Mapping[str, Any], body: object) -> list[str | int]:
    """Return the location of an error in the request, without the names of union members and validators."""
    location = [*error["loc"]]
    if location[:1] != ["body"] or body is None:
        return location
    place = ["body", *steps_within(body, location[1:])]
    return [*place, location[-1]] if error["type"] == "missing" and location[1:] else place


def steps_within(value: Any, location: Sequence[str | int]) -> Iterator[str | int]:
    """Yield those steps of a location that lead into a value."""
    for step in location:
        if has(value, step):
            value = value[step]
            yield step


def has(value: object, step: str | int) -> bool:
    """Return whether a step leads into a value."""
    if isinstance(value, list):
        return isinstance(step, int) and step < len(value)
    return isinstance(value, Mapping) and step in value


def message_of(error: Mapping[str, Any]) -> str:
    """Return the message of an error, in terms of JSON."""
    message: str = MESSAGES.get(error["type"], error["msg"])
    for prefix in PREFIXES:
        message = message.removeprefix(prefix)
    if error["type"] in {"too_long", "too_short"}:
        for word, other in WORDS:
            message = message.replace(word, other)
    if message.startswith("Value should have"):  # a secret text
        message = message.replace("Value", "String", 1).replace(" item", " character", 1)
    return message


def truncate(text: str, length: int) -> str:
    """Shorten a text; a lone surrogate, which could not be sent, becomes a question mark."""
    whole = text if len(text) <= length else f"{text[: length - 1]}…"
    return whole.encode(errors="replace").decode()
