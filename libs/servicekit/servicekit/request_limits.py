"""Limits on one request's size and structure, checked in linear time before anything is parsed.

A route's limit in bytes is the `max_body_size` of its decorator or router, or else DEFAULT_BODY. Whatever
the size, a JSON body has a maximum of values and of depth: parsing and validating cost by the value.
"""

import re
from itertools import accumulate

from starlette.types import Scope

from servicekit.errors import BadRequest, HeadersTooLarge, QueryTooLong

KIB = 1024
DEFAULT_BODY = 64 * KIB
# What has more is read by `large_bodies`.
LARGE_BODY = 1024 * KIB
MAX_VALUES = 20_000
MAX_DEPTH = 200
MAX_QUERY_BYTES, MAX_QUERY_PARAMETERS = 8 * KIB, 100
MAX_HEADER_BYTES, MAX_HEADERS = 64 * KIB, 200
MAX_FORM_FIELDS = 32

STRING = re.compile(rb'"[^"]*"')
OPENING, CLOSING = b"[{", b"]}"
NO_BRACKETS = bytes(set(range(256)) - {*OPENING, *CLOSING})
STEP = {**dict.fromkeys(OPENING, 1), **dict.fromkeys(CLOSING, -1)}


class MalformedJson(BadRequest):
    """The body is not JSON in UTF-8."""

    default_detail = "The body is not valid JSON."


class BodyTooComplex(BadRequest):
    """The body has more values, or is nested deeper, than any request needs."""

    default_detail = f"The body has more than {MAX_VALUES} values, or is nested more than {MAX_DEPTH} deep."


def check_head(scope: Scope) -> None:
    """Raise QueryTooLong or HeadersTooLarge; the gateway has such limits, too, but services call past it."""
    query: bytes = scope["query_string"]
    if len(query) > MAX_QUERY_BYTES or query.count(b"&") >= MAX_QUERY_PARAMETERS:
        raise QueryTooLong
    headers: list[tuple[bytes, bytes]] = scope["headers"]
    if (
        len(headers) > MAX_HEADERS
        or sum(len(name) + len(value) for name, value in headers) > MAX_HEADER_BYTES
    ):
        raise HeadersTooLarge


def check_json(body: bytes) -> None:
    """Raise BodyTooComplex, or MalformedJson for what would hide its structure from this check."""
    # JSON in UTF-8 holds no NUL. In UTF-16 and UTF-32, which Python's parser takes, it does.
    if b"\0" in body:
        raise MalformedJson
    if count_separators(body) <= MAX_VALUES and count(body, OPENING) <= MAX_DEPTH:
        return
    structure = without_strings(body)
    openings = count(structure, OPENING)
    if openings < count(structure, CLOSING):
        raise MalformedJson
    if count_separators(structure) > MAX_VALUES or (openings > MAX_DEPTH and depth(structure) > MAX_DEPTH):
        raise BodyTooComplex


def count_separators(text: bytes) -> int:
    """Count separators and opening brackets: at least the number of values, less one."""
    return text.count(b",") + count(text, OPENING)


def count(text: bytes, characters: bytes) -> int:
    """Count single-byte characters."""
    return sum(text.count(character) for character in characters)


def without_strings(body: bytes) -> bytes:
    """Return the text without its strings; raises BodyTooComplex when there are too many.

    A backslash escapes the next character, so of a row of them each pair goes first.
    """
    plain = body.replace(rb"\\", b"").replace(rb"\"", b"")
    # A value is at most a name and a string.
    if plain.count(b'"') > 4 * (MAX_VALUES + 1):
        raise BodyTooComplex
    return STRING.sub(b"", plain)


def depth(structure: bytes) -> int:
    """Return how deep brackets are nested."""
    return max(accumulate(STEP[bracket] for bracket in structure.translate(None, NO_BRACKETS)))
