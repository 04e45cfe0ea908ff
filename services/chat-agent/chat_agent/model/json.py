"""JSON that is not quite right, from the model and to it."""

import json
from collections.abc import Callable
from typing import Any

import orjson

from chat_agent.schemas import UNSTORABLE

Json = dict[str, Any]  # what the SDK's classes are made from, and they are not typed by JsonValue
NUL = rb"\u0000"


class InvalidModelResponse(ValueError):
    """What came is not what the protocol says."""


def encode(value: Any, default: Callable[[Any], Any]) -> bytes:
    """Encode JSON, also of text and numbers that other systems may not understand."""
    try:
        return orjson.dumps(value, default=default)
    except orjson.JSONEncodeError:
        return json.dumps(value, default=default).encode()


def parse(data: bytes) -> Json:
    """Read one JSON object; NUL, and bytes and halves of surrogate pairs that are no text, are replaced."""
    try:
        value = orjson.loads(data)
        value = replace_unstorable(value) if NUL in data else value
    except orjson.JSONDecodeError:
        value = parse_leniently(data)
    if not isinstance(value, dict):
        raise InvalidModelResponse("not a JSON object")
    return value


def parse_leniently(data: bytes) -> Any:
    """Read JSON that is not quite UTF-8."""
    try:
        value = json.loads(data.decode(errors="replace"))
    except ValueError as error:
        raise InvalidModelResponse("not JSON") from error
    return replace_unstorable(value)


def replace_unstorable(value: Any) -> Any:
    """Replace what could be neither stored nor sent on."""
    if isinstance(value, str):
        return UNSTORABLE.sub("\ufffd", value)
    if isinstance(value, list):
        return [replace_unstorable(each) for each in value]
    if isinstance(value, dict):
        return {replace_unstorable(key): replace_unstorable(each) for key, each in value.items()}
    return value
