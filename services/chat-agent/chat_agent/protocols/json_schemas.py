"""The JSON schemas that clients send: of answers, and of the parameters of their tools."""

from collections.abc import Callable, Iterator
from typing import Any

from chat_agent.model.schema_validation import SchemaValidator
from chat_agent.protocols.errors import InvalidParameter


def check_schema(
    schema: dict[str, Any],
    place: str,
    *,
    is_strict: bool,
    check: Callable[[dict[str, Any]], object] = SchemaValidator,
) -> None:
    """Raise InvalidParameter for what is no JSON schema, or is not strict though it says so."""
    try:
        check(schema)
    except ValueError as error:
        raise InvalidParameter(place, f"This is no JSON schema: {first_line(error)}") from error
    if is_strict and any(not is_closed(one) for one in objects_in(schema)):
        raise InvalidParameter(
            place,
            "With `strict`, each object needs `additionalProperties: false`, all properties required.",
        )


def first_line(error: ValueError) -> str:
    """Return what a library says of an error, in short."""
    return str(error).splitlines()[0][:200]


def objects_in(schema: Any) -> Iterator[dict[str, Any]]:
    """Yield the schemas of objects in a schema."""
    if isinstance(schema, dict):
        if isinstance(schema.get("properties"), dict):
            yield schema
        for value in schema.values():
            yield from objects_in(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from objects_in(value)


def is_closed(schema: dict[str, Any]) -> bool:
    """Return whether the schema of an object allows nothing but its properties, and requires them all."""
    required = schema.get("required")
    return (
        schema.get("additionalProperties") is False
        and isinstance(required, list)
        and schema["properties"].keys() <= {*map(str, required)}
    )
