"""The claims of an access token, in the only shapes that are accepted (RFC 9068 section 2.2, and our own)."""

import re
from typing import Annotated, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from servicekit.auth.permissions import Role

UUID_PATTERN = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
NAME_PATTERN = "[A-Za-z0-9._-]{1,128}"
SUBJECT_PATTERN = f"(?:user:{UUID_PATTERN}|service:{NAME_PATTERN})"
SCOPE_PATTERN = r"[\x21\x23-\x5b\x5d-\x7e]+"
# A machine may act for an end user, whose percent-encoded name follows its own (`Principal.user_id`).
END_USER_PATTERN = "[A-Za-z0-9_.~@+:|=%-]{1,1536}"
TENANT_AND_SUBJECT = re.compile(
    f"({UUID_PATTERN})/(user:{UUID_PATTERN}|service:{NAME_PATTERN}(?:/{END_USER_PATTERN})?)"
)


def _as_tuple(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


def _one_or_many(value: object) -> object:
    return (value,) if isinstance(value, str) else _as_tuple(value)


Seconds = Annotated[int, Field(ge=0, lt=2**53)]
Word = Annotated[str, Field(max_length=255, pattern=r"^[\x21-\x7e]+$")]
Name = Annotated[str, Field(pattern=f"^{NAME_PATTERN}$")]
Audience = Annotated[tuple[Word, ...], BeforeValidator(_one_or_many), Field(min_length=1)]


class Claims(BaseModel):
    """The claims of one access token. Unknown claims are ignored, known ones must be valid."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True, hide_input_in_errors=True)

    iss: str
    aud: Audience
    exp: Seconds
    iat: Seconds
    nbf: Seconds = 0
    sub: Annotated[str, Field(pattern=f"^{SUBJECT_PATTERN}$")]
    client_id: Name
    jti: Word
    sid: Word | None = None
    tenant_id: Annotated[str, Field(pattern=f"^{UUID_PATTERN}$")] | None = None
    role: Annotated[Role, Field(strict=False)] | None = None
    scope: Annotated[str, Field(pattern=f"^{SCOPE_PATTERN}(?: {SCOPE_PATTERN})*$")] | None = None
    email_verified: bool = False
    amr: Annotated[tuple[Word, ...], BeforeValidator(_as_tuple)] = ()
    auth_time: Seconds | None = None
    token_use: Literal["access"] | None = None

    @model_validator(mode="before")
    @classmethod
    def refuse_null(cls, claims: dict[str, object]) -> dict[str, object]:
        """Reject a claim whose value is null; it is not the same as an absent claim."""
        if None in claims.values():
            raise ValueError("a claim is null")
        return claims

    @model_validator(mode="after")
    def validate_subject(self) -> Self:
        """Require tenant and role together, and that a machine's subject matches its client id.

        Machines may have neither tenant nor role; people in a session, too, while their tenant is suspended.
        """
        kind, _, name = self.sub.partition(":")
        if kind == "service" and name != self.client_id:
            raise ValueError("a machine's subject is its client")
        is_nobody = kind == "user" and self.role is None and self.sid is None
        if (self.tenant_id is None) != (self.role is None) or is_nobody:
            raise ValueError("tenant and role go together")
        return self
