"""The schemas of tenants' own keys of providers."""

from datetime import datetime
from typing import Annotated

from pydantic import AfterValidator, BaseModel, Field, SecretStr, StringConstraints
from pydantic_core import PydanticCustomError
from servicekit.schemas import RequestModel

MAX_KEY = 500
# What a header takes, and a key of a provider is made of.
PRINTABLE = range(0x21, 0x7F)


def header_value(value: SecretStr) -> SecretStr:
    """Refuse a key that cannot be the value of a header."""
    if any(ord(character) not in PRINTABLE for character in value.get_secret_value()):
        raise PydanticCustomError("not_a_key", "must be letters, digits and punctuation of ASCII")
    return value


class NewProviderKey(RequestModel):
    """A key to be stored."""

    key: Annotated[SecretStr, Field(min_length=8, max_length=MAX_KEY), AfterValidator(header_value)] = Field(
        description="It is encrypted, and never returned."
    )
    base_url: Annotated[str, StringConstraints(pattern=r"^[!-~]+$", max_length=500)] | None = Field(
        None,
        description="A server of the tenant's own that is called in the same protocol.",
        json_schema_extra={"format": "uri"},
    )


class ProviderKey(BaseModel):
    """What can be read of a key: all but the key."""

    provider: str
    hint: str = Field(description="The last four characters, of a key of at least twenty.")
    base_url: str | None
    updated_by: str
    created_at: datetime
    updated_at: datetime
