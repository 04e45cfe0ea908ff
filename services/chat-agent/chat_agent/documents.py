"""What documents of tenants, such as definitions of agents and tools, have in common."""

import hashlib
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import orjson
from pydantic import BaseModel
from pydantic_core import PydanticCustomError
from servicekit.validation_errors import parameter_name

from chat_agent.schemas import MAX_INTEGER, MIN_INTEGER, storable_json

# Of a schema, in bytes of JSON.
MAX_SCHEMA = 50_000


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


def as_stored(members: Mapping[str, Any]) -> dict[str, Any]:
    """Return a JSON object in one form before and after it is stored: Postgres writes numbers differently."""
    return {name: value_as_stored(member) for name, member in members.items()}


def value_as_stored(value: Any) -> Any:
    """Return a JSON value in that form: no exponents as far as integers reach, and no sign of zero."""
    match value:
        case dict():
            return as_stored(value)
        case list():
            return [value_as_stored(item) for item in value]
        case int() if not MIN_INTEGER <= value <= MAX_INTEGER:
            return float(value)
        case float():
            return orjson.loads(f"{Decimal(repr(value + 0.0)):f}")
    return value


def digest_of(value: object) -> str:
    """Return the digest of a JSON value, whatever the order of its members."""
    return f"sha256:{hashlib.sha256(orjson.dumps(value, option=orjson.OPT_SORT_KEYS)).hexdigest()}"
