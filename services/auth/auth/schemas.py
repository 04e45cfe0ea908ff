"""What goes over the wire."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    StringConstraints,
    model_validator,
)
from servicekit.auth.permissions import Role
from servicekit.schemas import RequestModel

from auth.email_address import Email
from auth.models import TenantStatus
from auth.security.password_policy import MAX_LENGTH, MIN_LENGTH

# Room for 256 characters however they are composed; what is longer is not worth a look.
MAX_PASSWORD = 1024


def printable(text: str) -> str:
    """Reject control characters and noncharacters."""
    if not text.isprintable():
        raise ValueError("only characters that can be shown")
    return text


def encodable(secret: SecretStr) -> SecretStr:
    """Reject lone surrogates, which JSON can spell and nobody can type."""
    try:
        secret.get_secret_value().encode()
    except UnicodeEncodeError:
        raise ValueError("not text") from None
    return secret


Secret = Annotated[SecretStr, AfterValidator(encodable)]
Password = Annotated[
    Secret, Field(min_length=1, max_length=MAX_PASSWORD, examples=["four unrelated words here"])
]
# Told in the document; refused by password_policy, which says why and counts composed characters.
NewPassword = Annotated[Password, Field(json_schema_extra={"minLength": MIN_LENGTH, "maxLength": MAX_LENGTH})]
Word = Annotated[str, Field(min_length=1, max_length=256)]
Name = Annotated[str, StringConstraints(strip_whitespace=True, max_length=128), AfterValidator(printable)]
TenantName = Annotated[Name, StringConstraints(min_length=2)]
DisplayName = Annotated[Name, StringConstraints(min_length=1)]
# What says that a device was here before; whatever it is, the answer is the same.
DeviceToken = Annotated[str, Field(max_length=256)]
OpaqueToken = Annotated[Secret, Field(min_length=1, max_length=256)]


class Registration(RequestModel):
    """A registration, with a tenant of one's own or an invite."""

    email: Email
    password: NewPassword
    # Needed but where an invite leads into a tenant that is there.
    tenant_name: TenantName | None = None
    display_name: DisplayName | None = None
    accept_terms: Literal[True] | None = None
    invite: OpaqueToken | None = None

    @model_validator(mode="after")
    def into_a_tenant(self) -> "Registration":
        """Require a tenant name or an invite."""
        if self.tenant_name is None and self.invite is None:
            raise ValueError("give tenant_name, or an invite")
        return self


class Accepted(BaseModel):
    """The same answer whatever is known of the address."""

    detail: str = "If this address can be used, a mail with what to do next is on its way."


class Credentials(RequestModel):
    """Email address and password; without a tenant, the one that the user joined first is used.

    `device` is what an earlier session on this device was given under that name.
    """

    email: Email
    password: Password
    tenant_id: UUID | None = None
    device: DeviceToken | None = None


class LogoutRequest(RequestModel):
    """A session's newest refresh token."""

    refresh_token: OpaqueToken


class RefreshRequest(LogoutRequest):
    """A session's newest refresh token; the same one again within seconds, when the answer was lost.

    Who sends `device` (as it came with the session) the first time, sends it the second time as well.
    """

    device: DeviceToken | None = None


class EmailRequest(RequestModel):
    """The address to send the verification email to."""

    email: Email


class EmailTokenBody(RequestModel):
    """The token of an email's link."""

    token: OpaqueToken


class Confirmation(RequestModel):
    """The token of an email's link, and the password of the registration to confirm."""

    token: OpaqueToken
    password: Password | None = None


class TokenResponse(BaseModel):
    """The tokens of a session.

    Where `tenant_status` is `suspended`, the session is for the owner to reactivate the tenant: there are no
    scopes, and the access token opens nothing else. A refresh after that gives one with an owner's rights.
    """

    access_token: str
    refresh_token: str
    token_type: Literal["bearer"] = "bearer"  # noqa: S105  # RFC 6750's word
    expires_at: datetime
    refresh_expires_at: datetime
    kid: str
    scopes: list[str]
    tenant_id: UUID
    tenant_status: TenantStatus
    user_id: str
    email_verified: bool
    session_id: UUID
    # To be kept on this device when the session is over, and sent with the next sign-in.
    device: str | None


class OwnSession(BaseModel):
    """A live session; `is_current` marks the caller's."""

    id: UUID
    tenant_id: UUID
    device: str
    address: str | None
    place: str | None
    created_at: datetime
    last_seen_at: datetime
    is_current: bool


class EmailVerified(BaseModel):
    """The address is confirmed."""

    email_verified: Literal[True] = True


class Me(BaseModel):
    """The caller; `role` and `scopes` are those of the token."""

    user_id: str
    email: str
    email_verified: bool
    display_name: str | None
    tenant_id: UUID
    tenant_name: str
    tenant_slug: str
    role: Role
    scopes: list[str]
    session_id: UUID


class MachineCredentials(BaseModel):
    """A service's own credentials, and what it wants to do where (RFC 6749 section 4.4.2, RFC 8707)."""

    model_config = ConfigDict(extra="ignore")

    grant_type: Word
    client_id: Word
    client_secret: OpaqueToken
    audience: Word
    scope: Annotated[str, Field(max_length=1024)] = ""


class MachineToken(BaseModel):
    """A service's access token (RFC 6749 section 5.1)."""

    access_token: str
    token_type: Literal["bearer"] = "bearer"  # noqa: S105  # RFC 6750's word
    expires_in: int
    scope: str


class JwkSet(BaseModel):
    """The public keys that access tokens are verified with (RFC 7517)."""

    keys: list[dict[str, str]]


class Discovery(BaseModel):
    """Where to find what a client and a verifier need (OpenID Connect Discovery, RFC 8414)."""

    issuer: str
    jwks_uri: str
    token_endpoint: str
    token_endpoint_auth_methods_supported: list[str]
    token_endpoint_auth_signing_alg_values_supported: list[str]
    grant_types_supported: list[str]
    response_types_supported: list[str]
    id_token_signing_alg_values_supported: list[str]
    subject_types_supported: list[str]
    scopes_supported: list[str]
