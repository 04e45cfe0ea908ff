"""Makes the schemas of an OpenAPI document JSON schemas that a model can fill in."""

from collections.abc import Mapping
from typing import Any

# What says nothing of the values, or is in the documents of version 3.0 only.
IGNORED = {"discriminator", "xml", "externalDocs", "example", "readOnly", "writeOnly", "nullable"}
# The members of a schema that are schemas, by how they hold them.
IN_MAPPINGS = ("properties", "patternProperties", "$defs", "dependentSchemas")
IN_LISTS = ("allOf", "anyOf", "oneOf", "prefixItems")
DIRECT = ("items", "additionalProperties", "not", "if", "then", "else", "contains", "propertyNames")


def request_schema(schema: Any) -> Any:
    """Return a schema of a request: without what only responses have, and without secrets."""
    if not isinstance(schema, dict):
        return schema
    result = {name: value for name, value in schema.items() if name not in IGNORED}
    for name in IN_MAPPINGS:
        if mapping := mapping_in(result, name):
            result[name] = {key: request_schema(one) for key, one in mapping.items() if not is_withheld(one)}
    for name in IN_LISTS:
        if isinstance(members := result.get(name), list):
            result[name] = [request_schema(one) for one in members]
    for name in DIRECT:
        if name in result:
            result[name] = request_schema(result[name])
    if required := required_in(result):
        dropped = mapping_in(schema, "properties").keys() - mapping_in(result, "properties").keys()
        result["required"] = [name for name in required if name not in dropped]
    return with_bounds(result, is_nullable=schema.get("nullable") is True)


def mapping_in(schema: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return a member that is a mapping; an empty one for anything else, which is refused later."""
    member = schema.get(name)
    return member if isinstance(member, dict) else {}


def required_in(schema: Mapping[str, Any]) -> list[str]:
    """Return the names of the members that an object must have."""
    required = schema.get("required")
    return [name for name in required if isinstance(name, str)] if isinstance(required, list) else []


def is_withheld(schema: Any) -> bool:
    """Return whether a property is the server's to set, or a password, which no model has to know."""
    return isinstance(schema, dict) and (schema.get("readOnly") is True or schema.get("format") == "password")


def with_bounds(schema: dict[str, Any], *, is_nullable: bool) -> dict[str, Any]:
    """Replace what version 3.0 writes differently: null as a value, and bounds that are excluded."""
    for exclusive, bound in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
        if isinstance(flag := schema.get(exclusive), bool):
            del schema[exclusive]
            if flag and bound in schema:
                schema[exclusive] = schema.pop(bound)
    if is_nullable and isinstance(kind := schema.get("type"), str):
        schema["type"] = [kind, "null"]
        if isinstance(values := schema.get("enum"), list) and None not in values:
            schema["enum"] = [*values, None]
    return schema


def merged(schema: dict[str, Any]) -> dict[str, Any]:
    """Join the parts of an object that is written as `allOf`."""
    parts = schema.get("allOf")
    if not isinstance(parts, list) or not all(isinstance(part, dict) for part in parts):
        return schema
    rest = {name: value for name, value in schema.items() if name != "allOf"}
    objects = [merged(part) for part in (*parts, rest)]
    properties = {name: one for part in objects for name, one in mapping_in(part, "properties").items()}
    required = list(dict.fromkeys(name for part in objects for name in required_in(part)))
    if any(part.keys() - {"type", "properties", "required", "description", "title"} for part in objects):
        return schema
    return {"type": "object", **rest, "properties": properties, "required": required}
