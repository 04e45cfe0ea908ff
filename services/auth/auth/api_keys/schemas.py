"""The schemas of API keys."""

from datetime import datetime
from ipaddress import ip_network
from typing import Annotated, Literal
from uuid import UUID

from pydantic import AfterValidator, BaseModel, Field, SecretStr, StringConstraints
from servicekit.auth.permissions import PERMISSIONS
from servicekit.schemas import RequestModel, Time

from auth.schemas import Name

MAX_OVERLAP_MINUTES = 7 * 24 * 60


def validate_network(text: str) -> str:
    """Return a network in canonical form; raise ValueError for anything else."""
    return str(ip_network(text))


def validate_scope(scope: str) -> str:
    """Reject an unknown scope."""
    if scope not in PERMISSIONS:
        raise ValueError("no such scope")
    return scope


KeyName = Annotated[Name, StringConstraints(min_length=1)]
Scope = Annotated[str, AfterValidator(validate_scope), Field(json_schema_extra={"enum": [*PERMISSIONS]})]
Network = Annotated[str, Field(max_length=64, examples=["203.0.113.0/24"]), AfterValidator(validate_network)]


class NewApiKey(RequestModel):
    """The key to create; with `networks` it works only from these."""

    name: KeyName
    scopes: Annotated[list[Scope], Field(fail_fast=True, min_length=1, max_length=len(PERMISSIONS))]
    expires_at: Time | None = None
    networks: Annotated[list[Network], Field(fail_fast=True, default_factory=list, max_length=32)]


class Rotation(RequestModel):
    """For how long the previous secret still works; 0 ends it at once."""

    overlap_minutes: Annotated[int, Field(ge=0, le=MAX_OVERLAP_MINUTES)] = 60


class ApiKey(BaseModel):
    """A key as it is listed; `prefix` is how it begins, and no part of its secret.

    `created_by` was given the secret, by making or rotating the key. Once they may hold no keys,
    `creator_is_entitled` is false, and the key gives nothing unless the tenant keeps such keys.
    """

    id: UUID
    name: str
    prefix: str
    scopes: list[str]
    networks: list[str]
    created_by: str
    creator_is_entitled: bool
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    revoked_at: datetime | None
    previous_expires_at: datetime | None


class CreatedApiKey(ApiKey):
    """A key with its secret, which is returned only now."""

    key: str
    token_type: Literal["bearer"] = "bearer"  # noqa: S105  # RFC 6750's word


class IntrospectionRequest(RequestModel):
    """A key that a service received, and the address that it came from."""

    key: Annotated[SecretStr, Field(min_length=1, max_length=256)]
    address: Annotated[str, Field(max_length=64)] = ""
