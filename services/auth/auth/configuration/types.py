"""The types that auth's settings are made of."""

from typing import Annotated

from pydantic import Field, SecretStr, StringConstraints
from servicekit.settings import RotatingSecret

MINUTE = 60
HOUR = 3600
DAY = 24 * HOUR
DAY_MINUTES = 24 * 60

Count = Annotated[int, Field(ge=1)]
Minutes = Annotated[int, Field(ge=1)]
Keys = tuple[SecretStr, ...]
RANDOM = Field(description="a random secret (openssl rand -base64 32)")
RandomSecret = Annotated[SecretStr, RANDOM]
# `new,old` while it changes: docs/operations.md, "Changing secrets".
Pepper = Annotated[RotatingSecret, RANDOM]
EncryptionKey = Annotated[
    RotatingSecret, Field(description="32 random bytes in base64 (openssl rand -base64 32)")
]
# ISO 3166-1 alpha-2.
Country = Annotated[str, StringConstraints(to_upper=True, pattern="^[A-Za-z]{2}$")]
