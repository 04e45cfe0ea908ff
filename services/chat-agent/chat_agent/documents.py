"""What documents of tenants, such as definitions of agents and tools, have in common."""

import hashlib

import orjson
from pydantic import BaseModel
from pydantic_core import PydanticCustomError
from servicekit.validation_errors import parameter_name

from chat_agent.schemas import storable_json

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


def digest_of(value: object) -> str:
    """Return the digest of a JSON value, whatever the order of its members."""
    return f"sha256:{hashlib.sha256(orjson.dumps(value, option=orjson.OPT_SORT_KEYS)).hexdigest()}"
