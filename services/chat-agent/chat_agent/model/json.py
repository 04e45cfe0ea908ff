"""JSON that is not quite right, from the model and to it."""

import json
from collections.abc import Callable
from typing import Any

import orjson

from chat_agent.model.split_text import storable_text
from chat_agent.schemas import UNSTORABLE

Json = dict[str, Any]  # what the SDK's classes are made from, and they are not typed by JsonValue


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
    return storable_object(parse_piece(data))


def parse_piece(data: bytes) -> Json:
    """Read one JSON object of a stream, whose strings may begin or end within a character."""
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError:
        value = parse_leniently(data)
    if not isinstance(value, dict):
        raise InvalidModelResponse("not a JSON object")
    return value


def parse_leniently(data: bytes) -> Any:
    """Read JSON that is not quite UTF-8."""
    try:
        return json.loads(data.decode(errors="surrogateescape"))
    except (ValueError, RecursionError) as error:
        raise InvalidModelResponse("not JSON") from error


def storable_object(value: Json) -> Json:
    """Replace what could be neither stored nor sent on in an object."""
    try:
        replaced: Json = replace_unstorable(value)
    except RecursionError as error:
        raise InvalidModelResponse("nested too deep") from error
    return replaced


def replace_unstorable(value: Any) -> Any:
    """Replace what could be neither stored nor sent on."""
    if isinstance(value, str):
        return storable_text(value) if UNSTORABLE.search(value) else value
    if isinstance(value, list):
        return [replace_unstorable(each) for each in value]
    if isinstance(value, dict):
        return {replace_unstorable(key): replace_unstorable(each) for key, each in value.items()}
    return value
