"""JOSE's two encodings, base64url and JSON, decoded strictly: every value has one accepted encoding.

What is signed must mean one thing to every reader (RFC 7515 sections 2 and 4, RFC 8725 section 2.6).
"""

import base64
import json
import re
from typing import NoReturn, TypeGuard

from pydantic import JsonValue

MAX_DEPTH = 8
_ALPHABET = re.compile(r"[A-Za-z0-9_-]*")
_KID = re.compile(r"[A-Za-z0-9._-]{1,128}")


def is_kid(value: object) -> TypeGuard[str]:
    """Return whether a key id has only characters that are safe in a log, a path and a query."""
    return isinstance(value, str) and _KID.fullmatch(value) is not None


def encode(data: bytes) -> str:
    """Write bytes as base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def decode(text: str) -> bytes:
    """Read base64url without padding; ValueError on any spelling that `encode` would not have written."""
    if not _ALPHABET.fullmatch(text):
        raise ValueError("not base64url")
    data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    if encode(data) != text:
        raise ValueError("stray bits at the end")
    return data


def parse_object(text: bytes) -> dict[str, JsonValue]:
    """Read a JSON object; ValueError on a repeated name, NaN, deep nesting, or anything but UTF-8."""
    try:
        value = json.loads(text.decode(), object_pairs_hook=_unique, parse_constant=_refuse)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(value, dict):
        raise ValueError("not an object")
    _check_depth(value)
    return value


def _unique(pairs: list[tuple[str, JsonValue]]) -> dict[str, JsonValue]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a name is repeated")
    return members


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


def _check_depth(value: JsonValue) -> None:
    level: list[JsonValue] = [value]
    for _ in range(MAX_DEPTH):
        level = [child for parent in level for child in _children(parent)]
        if not level:
            return
    raise ValueError("nested too deeply")


def _children(value: JsonValue) -> list[JsonValue]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []
