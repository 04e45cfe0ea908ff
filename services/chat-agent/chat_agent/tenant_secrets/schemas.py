"""The schemas of tenants' secrets."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, StringConstraints
from servicekit.schemas import RequestModel

from chat_agent.schemas import storable

MAX_SECRET = 8000

SecretName = Annotated[str, StringConstraints(pattern="^[a-z][a-z0-9_]{0,49}$")]


class SecretReference(RequestModel):
    """A value that contains a secret of the tenant."""

    secret: SecretName = Field(description="The name of the secret; a call reads its value.")
    prefix: Annotated[str, StringConstraints(max_length=50, pattern=r"^[\x20-\x7e]*$")] = Field(
        "", description="What stands before the value, such as `Bearer `."
    )

    def value(self, secrets: Mapping[str, str]) -> str:
        """Return the value, of the values of secrets by name."""
        return self.prefix + secrets[self.secret]


def storable_secret(value: SecretStr) -> SecretStr:
    """Refuse a secret that cannot be stored, or be the value of a header."""
    text = storable(value.get_secret_value())
    if any(ord(character) < 32 or ord(character) == 127 for character in text):
        raise ValueError("must not contain control characters")
    return value


SecretValue = Annotated[
    SecretStr, Field(min_length=1, max_length=MAX_SECRET), AfterValidator(storable_secret)
]


class NewSecret(RequestModel):
    """A secret to be stored."""

    value: SecretValue = Field(description="It is encrypted, and never returned.")


class Secret(BaseModel):
    """What can be read of a secret: all but its value."""

    model_config = ConfigDict(from_attributes=True)

    name: str
    hint: str = Field(description="The last four characters, of a secret of at least twenty.")
    updated_by: str
    created_at: datetime
    updated_at: datetime
