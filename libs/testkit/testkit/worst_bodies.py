"""The worst bodies that a client can send to each route that takes one, made from the route's own schema."""

import json
import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

from fastapi import FastAPI
from servicekit.auth.dependencies import every_route
from servicekit.idempotency import IdempotentRoute
from servicekit.request_limits import MAX_DEPTH, MAX_VALUES

from testkit.schemas import Json, SchemaLocation, Schemas
from testkit.token_matrix import fill_path_parameter

JSON = "application/json"
MARK = "@@ here @@"
# How much is sent where there is no limit.
UNLIMITED = 800_000
# Fits where a route ignores what it does not know, as OpenAI's do.
FEW_UNKNOWN_MEMBERS = "few unknown members"
# As a message of a million characters may be.
LONG_STRING_OF_ESCAPES = "long string of escapes"
MAY_FIT = frozenset({FEW_UNKNOWN_MEMBERS, LONG_STRING_OF_ESCAPES})

# Makes a raw JSON value of about so many bytes.
MakeBody = Callable[[int], str]
# Makes the raw text of an item or a member, by its number and with padding.
MakeItem = Callable[[int, str], str]


class Route(NamedTuple):
    """A route that takes a body, and how large a one."""

    app: FastAPI
    method: str
    path: str
    is_internal: bool
    limit: int
    media_type: str
    schema: Json
    is_idempotent: bool

    @property
    def url(self) -> str:
        """An address of it, of something that is not there."""
        return re.sub(r"{(\w+)(?::\w+)?}", lambda name: fill_path_parameter(name[1]), self.path)

    @property
    def name(self) -> str:
        """What people call it."""
        return f"{self.method} {self.path}"


def all_routes_with_body(app: FastAPI) -> list[Route]:
    """List the routes, public and internal, that take a body."""
    return [*routes_with_body(app), *routes_with_body(app.state.internal, is_internal=True)]


def routes_with_body(app: FastAPI, *, is_internal: bool = False) -> Iterator[Route]:
    """List the routes of an app that take a body."""
    document = app.openapi()
    for route in every_route(app.routes):
        path, is_idempotent = str(route.path_format), isinstance(route.original_route, IdempotentRoute)
        for method in sorted(route.methods or ()):
            operation = document["paths"].get(path, {}).get(method.lower(), {})
            for media_type, content in operation.get("requestBody", {}).get("content", {}).items():
                limit, schema = route.max_body_size or UNLIMITED, content["schema"]
                yield Route(app, method, path, is_internal, limit, media_type, schema, is_idempotent)


def find_unbounded(app: FastAPI) -> list[str]:
    """Name every list, mapping and text in the bodies of an app that has no maximum."""
    return [
        f"{route.name}: {what}"
        for route in all_routes_with_body(app)
        for what in Schemas(route.app.openapi()).unbounded(route.schema, "body")
    ]


def places_of(route: Route) -> list[SchemaLocation]:
    """List the places of a route's body in which something bad can stand; of a form, the whole."""
    places = Schemas(route.app.openapi()).locations(route.schema) if route.media_type == JSON else ()
    return [*places] or [SchemaLocation((), route.schema)]


def worst_bodies(route: Route, place: SchemaLocation) -> Iterator[tuple[str, bytes]]:
    """Make all bodies of a route that are bad in one place: what is bad of each, and the body."""
    if route.media_type != JSON:
        yield from worst_forms(route)
        return
    schemas = Schemas(route.app.openapi())
    shell = json.dumps(schemas.with_value(route.schema, place.steps, MARK))
    room = route.limit - len(shell)
    for name, worst in {**BODY_KINDS, **valid_items(schemas, place)}.items():
        yield name, shell.replace(json.dumps(MARK), worst(room), 1).encode()


def worst_forms(route: Route) -> Iterator[tuple[str, bytes]]:
    """Make the worst forms."""
    yield "wide list", b"&".join([b"scope=1"] * (route.limit // 8))
    yield "unknown members", b"&".join(b"u%d=1" % index for index in range(route.limit // 9))
    yield "wide object", b"&" * route.limit
    yield "long string", b"grant_type=" + b"a" * (route.limit - 20)
    yield "deep", b"grant_type=" + b"%5B" * (route.limit // 3 - 20)


def valid_items(schemas: Schemas, place: SchemaLocation) -> dict[str, MakeBody]:
    """Make what fits in a place but for its number: items of a list, and unknown members of an object."""
    schema = schemas.resolve(place.schema)
    if schema.get("type") == "array":
        item = json.dumps(schemas.sample(schema["items"]))
        return {"wide list of what fits": repeat_item(lambda *_: item, "[]")}
    if schema.get("type") == "object" and schema.get("properties"):
        known = json.dumps(schemas.sample(schema))[:-1]
        start = known + ("," if len(known) > 1 else "")
        return {
            "unknown members": lambda size: start + repeat_item(make_member, "{}")(size - len(known))[1:],
            FEW_UNKNOWN_MEMBERS: lambda size: start + repeat_item(make_member, "{}")(min(size, 600))[1:],
        }
    return {}


def repeat_item(item: MakeItem, brackets: str) -> MakeBody:
    """Make a list or an object of as many items as there is room for."""

    def make(size: int) -> str:
        number = max(1, size // (len(item(0, "")) + 6))
        return brackets[0] + ",".join(item(index, "") for index in range(number)) + brackets[1]

    return make


def repeat_padded_item(item: MakeItem, brackets: str) -> MakeBody:
    """Make a list or an object of just as many items as are let through, each as long as possible."""

    def make(size: int) -> str:
        number = max(1, min(MAX_VALUES - 200, size // (len(item(0, "")) + 6)))
        room = max(0, size // number - len(item(number, "")) - 1)
        return brackets[0] + ",".join(item(index, "x" * room) for index in range(number)) + brackets[1]

    return make


def make_number(_: int, __: str) -> str:
    """Make a number."""
    return "1"


def make_text(_: int, padding: str) -> str:
    """Make a string."""
    return f'"{padding}"'


def make_empty_object(_: int, __: str) -> str:
    """Make an object without members."""
    return "{}"


def make_member(index: int, padding: str) -> str:
    """Make a member of an object."""
    return f'"u{index}{padding}":1'


BODY_KINDS: dict[str, MakeBody] = {
    "wide list": repeat_item(make_number, "[]"),
    "wide list of texts": repeat_padded_item(make_text, "[]"),
    "wide list of objects": repeat_padded_item(make_empty_object, "[]"),
    "wide object": repeat_item(make_member, "{}"),
    "wide object of long names": repeat_padded_item(make_member, "{}"),
    "deep": lambda size: "[" * (size // 2) + "]" * (size // 2),
    "deep objects": lambda size: '{"a":' * (size // 6) + "1" + "}" * (size // 6),
    "as deep as may be": lambda _: "[" * (MAX_DEPTH - 20) + "]" * (MAX_DEPTH - 20),
    "long string": lambda size: '"' + "a" * (size - 2) + '"',
    LONG_STRING_OF_ESCAPES: lambda size: '"' + r"\u00e9" * ((size - 2) // 6) + '"',
}
