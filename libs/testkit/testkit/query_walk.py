"""Call every public GET route with parameters that it cannot understand: it must refuse them, and not fail.

    assert await find_unrefused_cursors(app, token) == []
    assert await find_broken_queries(app, token) == []

The token must be of `token_matrix.TENANT`; `path` names what is there, by the parameters of the paths.
"""

import re
from collections.abc import Iterator, Mapping
from itertools import product
from typing import Any, NamedTuple
from urllib.parse import urlencode

from fastapi import FastAPI
from httpx import Response
from pydantic import JsonValue
from servicekit.schemas import encode_cursor

from testkit.app import client
from testkit.token_matrix import UNKNOWN_ID, error_code, fill_path_parameter

NOTHING: Mapping[str, str] = {}
TIME = "2026-01-01T00:00:00+00:00"
# Of the right JSON type, and yet no time, id or number that a list is sorted by.
NO_TIMES = (
    "",
    "\0",
    "now",
    "20260101",
    "2026-01-01T00:00:00",
    "0001-01-01T00:00:00+14:00",
    "9999-12-31T23:59:59-14:00",
    "10000-01-01T00:00:00+00:00",
    "2026-01-01T00:00:00+99:00",
)
NO_IDS = ("", "\0", "no-uuid\0")
NO_NUMBERS = (-1, 2**63, 2**70, -(2**70))
# Valid for no route, whatever it sorts by.
NO_CURSORS = ("", "%%%", "é", "a", "bm9uc2Vuc2U", "AA", "W10", "bnVsbA", "W251bGxd", "Wy0xLjVd")
# By the type and format of a parameter.
HOSTILE: dict[str, tuple[str, ...]] = {
    "date-time": (*NO_TIMES, TIME, "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "1e9", "0"),
    "integer": ("", "-1", "0", str(2**31), str(2**63), str(2**70), "1e400", "NaN", "٣"),
    "string": ("", "\0", "a\0", "\ud800", "é\u0301", "'", "%", "\\", "a" * 400),
}


class Listing(NamedTuple):
    """A GET route, and what it takes in its query, by name."""

    app: FastAPI
    path: str
    parameters: dict[str, Any]

    async def __call__(self, token: str, path: Mapping[str, str], query: Mapping[str, str]) -> Response:
        """Call it, with something in place of what it requires besides."""
        url = re.sub(r"{(\w+)}", lambda name: path.get(name[1]) or fill_path_parameter(name[1]), self.path)
        required = {name: "one" for name, one in self.parameters.items() if one.get("required")}
        # As a browser would send half a surrogate: in three bytes that are no UTF-8.
        encoded = {
            name: value.encode(errors="surrogatepass") for name, value in {**required, **query}.items()
        }
        async with client(self.app, token) as caller:
            return await caller.get(f"{url}?{urlencode(encoded)}")


def listings(app: FastAPI) -> Iterator[Listing]:
    """List the GET routes of an app that have parameters and answer at once."""
    for path, operations in app.openapi()["paths"].items():
        operation = operations.get("get", {})
        parameters = {one["name"]: one for one in operation.get("parameters", []) if one["in"] == "query"}
        is_stream = "text/event-stream" in operation.get("responses", {}).get("200", {}).get("content", {})
        if parameters and not is_stream:
            yield Listing(app, path, parameters)


def forged_cursors() -> Iterator[str]:
    """Make cursors in every shape that a list has, one value of which cannot be."""
    yield from NO_CURSORS
    shapes: list[tuple[tuple[JsonValue, ...], ...]] = [
        (NO_NUMBERS,),
        (NO_TIMES, (UNKNOWN_ID, "in_1")),
        ((TIME,), NO_IDS[:2]),
        (NO_TIMES, (UNKNOWN_ID,), (1,)),
        ((TIME,), (UNKNOWN_ID,), (-1, 2**63, 2**70)),
        ((TIME,), NO_IDS, (1,)),
        ((TIME, None, True, 1.5), (None,)),
    ]
    for shape in shapes:
        yield from (encode_cursor(*map(plain, values)) for values in product(*shape))


def plain(value: JsonValue) -> JsonValue:
    """Return a value as orjson can write it; of larger numbers it makes none."""
    return value if not isinstance(value, int) or abs(value) < 2**64 else float(value)


async def find_unrefused_cursors(app: FastAPI, token: str, path: Mapping[str, str] = NOTHING) -> list[str]:
    """Return where a cursor that was never given out is not refused as such."""
    lists = [listing for listing in listings(app) if "cursor" in listing.parameters]
    assert lists, "no route takes a cursor"
    failures = []
    for listing, cursor in product(lists, forged_cursors()):
        answer = await listing(token, path, {"cursor": cursor})
        if (answer.status_code, error_code(answer)) != (400, "invalid_cursor"):
            failures.append(f"{listing.path} {cursor} {answer.status_code} {error_code(answer)}")
    return failures


async def find_broken_queries(app: FastAPI, token: str, path: Mapping[str, str] = NOTHING) -> list[str]:
    """Return which parameters break a route."""
    failures = []
    for listing in listings(app):
        for name, parameter in listing.parameters.items():
            for value in hostile_values(parameter["schema"]):
                answer = await listing(token, path, {name: value})
                if answer.status_code >= 500:
                    failures.append(f"{listing.path} {name}={value!r} {answer.status_code}")
    return failures


def hostile_values(schema: dict[str, Any]) -> Iterator[str]:
    """Return values that do not fit a parameter, or just so."""
    for one in schema.get("anyOf", [schema]):
        kind = one.get("format") or one.get("type") or "string"
        yield from HOSTILE.get(kind, HOSTILE["string"])
