"""What documents of tenants, such as definitions of agents and tools, have in common."""

import hashlib
from typing import Any

import orjson
from pydantic import BaseModel
from pydantic_core import PydanticCustomError
from servicekit.validation_errors import parameter_name

from chat_agent.schemas import storable_json

# Of a schema, in bytes of JSON.
MAX_SCHEMA = 50_000
# The member of a schema that has those of the objects that it describes.
PROPERTIES = "properties"


class DefinitionProblem(BaseModel):
    """What is wrong at a place of a definition."""

    path: str
    message: str


def small_json(value: object) -> object:
    """Refuse a JSON value that is too large for a model, or that cannot be stored."""
    checked = storable_json(value)
    if len(orjson.dumps(checked)) > MAX_SCHEMA:
        raise PydanticCustomError("too_large", "must not have more than {most} bytes", {"most": MAX_SCHEMA})
    return checked


def schema_problem(path: str, error: Exception) -> tuple[str, str]:
    """Return the place of what is no JSON schema within a document, and the reason."""
    place = parameter_name([path, *getattr(error, "instance_path", [])])
    within = place if place.startswith("[") or not place else f".{place}"
    return f"{path}{within}", str(error).splitlines()[0][:200]


def digest_of(value: object) -> str:
    """Return the digest of a JSON value."""
    return f"sha256:{hashlib.sha256(canonical_json(value)).hexdigest()}"


def canonical_json(value: object) -> bytes:
    """Encode a JSON value, whatever the order of its members, but for the properties of schemas.

    Models answer in the order of these.
    """
    return orjson.dumps(with_sorted_members(value))


def with_sorted_members(value: Any, *, is_properties: bool = False) -> Any:
    """Return a JSON value whose objects are sorted by name, but for the properties of schemas."""
    if isinstance(value, list | tuple):
        return [with_sorted_members(item) for item in value]
    if not isinstance(value, dict):
        return value
    members = {}
    for name in value if is_properties else sorted(value):
        # A property that is called so is a schema.
        are_properties = name == PROPERTIES and not is_properties
        members[name] = with_sorted_members(value[name], is_properties=are_properties)
    return members
