"""The catalogue of service accounts and their maximum rights: a file that is read at the start.

accounts:
  nightly-export:
    tenants: [7e4a0000-0000-4000-8000-000000000001]   # or `global: true`
    role: member
    scopes: [conversations:read]
    audiences: [acme-api]
    max_lifetime_minutes: 1440
"""

from collections.abc import Hashable
from pathlib import Path
from typing import Annotated, Any, Self
from uuid import UUID

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from servicekit.auth.permissions import PERMISSIONS, Role, scopes_for
from yaml.constructor import ConstructorError

YEAR_MINUTES = 365 * 24 * 60

AccountName = Annotated[str, Field(pattern="^[a-z][a-z0-9-]{1,47}$")]
Audience = Annotated[str, Field(pattern="^[a-z][a-z0-9-]{0,63}$")]


class InvalidCatalogue(Exception):
    """The catalogue is invalid; the message says why."""


class Account(BaseModel):
    """The maximum rights of an account. Only a `global` one is for tenants that are not listed."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    tenants: frozenset[UUID] = frozenset()
    is_global: bool = Field(default=False, alias="global")
    role: Role
    scopes: Annotated[frozenset[str], Field(min_length=1)]
    audiences: Annotated[tuple[Audience, ...], Field(min_length=1)] = ("acme-api",)
    max_lifetime_minutes: Annotated[int, Field(ge=1, le=YEAR_MINUTES)] = 24 * 60

    @model_validator(mode="after")
    def validate_account(self) -> Self:
        """Reject scopes that do not exist or exceed the role, and accounts without a tenant."""
        if unknown := self.scopes - PERMISSIONS.keys():
            raise ValueError(f"no such scopes: {', '.join(sorted(unknown))}")
        if above := self.scopes - scopes_for(self.role):
            raise ValueError(f"above the role: {', '.join(sorted(above))}")
        if bool(self.tenants) == self.is_global:
            raise ValueError("name tenants, or say `global: true`")
        return self

    def is_for(self, tenant_id: UUID | None) -> bool:
        """Return whether the account may be one of a tenant; None is all tenants."""
        return self.is_global or tenant_id in self.tenants


class UniqueKeyLoader(yaml.SafeLoader):
    """Reads YAML, and refuses a key that is there twice, of which the last alone would count."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """Return a mapping; raises ConstructorError."""
        names = set[str]()
        for key in [key for key, _ in node.value if isinstance(key, yaml.ScalarNode)]:
            if key.value in names:
                raise ConstructorError(problem=f"{key.value!r} is there twice", problem_mark=key.start_mark)
            names.add(key.value)
        return super().construct_mapping(node, deep)


class Catalogue(BaseModel):
    """All accounts, by their names."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    accounts: dict[AccountName, Account] = {}

    @classmethod
    def load(cls, path: Path | None) -> Self:
        """Read the file; without one there are no accounts. Raises InvalidCatalogue."""
        if path is None:
            return cls()
        try:
            content = yaml.load(path.read_bytes(), UniqueKeyLoader)  # noqa: S506  # it is a SafeLoader
            return cls.model_validate(content)
        except (OSError, yaml.YAMLError, ValidationError) as error:
            raise InvalidCatalogue(f"AUTH_SERVICE_ACCOUNTS_FILE {path}: {error}") from error
