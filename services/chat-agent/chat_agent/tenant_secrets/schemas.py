"""The schemas of tenants' secrets."""

from datetime import datetime
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, StringConstraints
from servicekit.schemas import RequestModel

from chat_agent.schemas import storable

MAX_SECRET = 8000

SecretName = Annotated[str, StringConstraints(pattern="^[a-z][a-z0-9_]{0,49}$")]


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
