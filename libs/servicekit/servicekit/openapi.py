"""The OpenAPI document of a service: the names in generated clients, and the problems it answers with."""

import re
from typing import Any

import orjson
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute

from servicekit.auth.dependencies import every_route
from servicekit.errors import MEDIA_TYPE
from servicekit.request_limits import KIB

PROBLEM = {
    "type": "object",
    "description": "A problem (RFC 9457). Switch on `code`; it is stable.",
    "required": ["type", "title", "status", "detail", "code", "request_id"],
    "properties": {
        "type": {"type": "string", "examples": ["urn:acme:not_found"]},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "code": {"type": "string", "examples": ["not_found"]},
        "request_id": {"type": ["string", "null"]},
        "errors": {
            "type": "array",
            "description": "What does not fit, and where.",
            "items": {
                "type": "object",
                "properties": {
                    "loc": {"type": "array", "items": {"type": ["string", "integer"]}},
                    "msg": {"type": "string"},
                    "type": {"type": "string"},
                },
            },
        },
    },
}
ANSWER = {
    "description": "A problem.",
    "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
}


def operation_name(route: APIRoute) -> str:
    """Return the id of an operation: the name of its function in camel case, whatever its path and module.

    A test of the testkit finds what is not unique over all documents; a route may have an `operation_id`.
    """
    first, *others = route.name.split("_")
    return first + "".join(word.capitalize() for word in others)


def install(app: FastAPI) -> None:
    """Make `app.openapi()` document our problems in place of the framework's errors."""

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            made = get_openapi(
                title=app.title, version=app.version, description=app.description, routes=app.routes
            )
            app.openapi_schema = with_page_names(with_limits(with_problems(made), app))
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]  # FastAPI's documented way to extend the document


def with_page_names(document: dict[str, Any]) -> dict[str, Any]:
    """Name the page of an item after it: `ConversationPage`, where pydantic has `Page_Conversation_`."""
    named: dict[str, Any] = orjson.loads(re.sub(rb'\bPage_(\w+)_(?=")', rb"\1Page", orjson.dumps(document)))
    return named


def with_problems(document: dict[str, Any]) -> dict[str, Any]:
    """Add the problem response to every operation that does not document one."""
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    schemas["Problem"] = PROBLEM
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    for path in document.get("paths", {}).values():
        for operation in path.values():
            operation["responses"].pop("422", None)
            operation["responses"].setdefault("default", ANSWER)
    return document


def with_limits(document: dict[str, Any], app: FastAPI) -> dict[str, Any]:
    """Document the maximum body size of every operation that has a body."""
    for route in every_route(app.routes):
        for method in route.methods or ():
            operation = document.get("paths", {}).get(route.path_format, {}).get(method.lower(), {})
            if "requestBody" in operation:
                size = f"The body is larger than {route.max_body_size // KIB} KiB."
                operation["responses"]["413"] = {**operation["responses"]["default"], "description": size}
    return document
