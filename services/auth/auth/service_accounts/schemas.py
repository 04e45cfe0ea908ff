"""The schemas of service accounts."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field
from servicekit.schemas import RequestModel

from auth.schemas import OpaqueToken, Word
from auth.security.service_account_catalogue import AccountName

MAX_PAYLOAD = 8192
MAX_ASSERTION = 4096
Moment = Annotated[int, Field(ge=0, lt=2**53)]


class Issuance(RequestModel):
    """A payload, and the signature of its bytes by the Transit key that vouches for service accounts."""

    payload_b64: Annotated[str, Field(min_length=1, max_length=MAX_PAYLOAD)]
    signature: Annotated[str, Field(max_length=512, pattern="^vault:v[0-9]{1,9}:[A-Za-z0-9+/=_-]+$")]


class PublicKey(BaseModel):
    """The public key by which a machine will prove itself instead of a secret (RFC 8037)."""

    model_config = ConfigDict(strict=True, extra="forbid")

    kty: Literal["OKP"]
    crv: Literal["Ed25519"]
    x: Annotated[str, Field(pattern="^[A-Za-z0-9_-]{43}$")]


class Payload(BaseModel):
    """The signed payload; all members but `jwk` are required. Times in epoch seconds."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    iss: Word
    aud: Word
    account: AccountName
    tenant_id: UUID | None
    scopes: Annotated[list[Word], Field(fail_fast=True, min_length=1, max_length=64)]
    lifetime_s: Annotated[int, Field(strict=True, ge=60)]
    # 128 bits in base64url or in hexadecimal, or more.
    nonce: Annotated[str, Field(pattern="^[A-Za-z0-9_-]{22,64}$")]
    iat: Annotated[Moment, Field(strict=True)]
    exp: Annotated[Moment, Field(strict=True)]
    jwk: PublicKey | None = None


class ServiceCredential(BaseModel):
    """A credential as it is listed."""

    id: UUID
    client_id: str
    account: str
    tenant_id: UUID | None
    scopes: list[str]
    method: Literal["client_secret", "private_key_jwt"]
    created_at: datetime
    expires_at: datetime
    last_used_at: datetime | None
    revoked_at: datetime | None


class IssuedCredential(ServiceCredential):
    """A credential with its secret, which is shown this once; none where the machine has a key of its own."""

    client_secret: str | None
    token_endpoint: str


class TokenRequest(BaseModel):
    """A machine's request for an access token (RFC 6749 sections 2.3.1 and 4.4.2, RFC 7523 section 2.2).

    `audience` is which service it is for; `tenant_id` is for accounts of all tenants.
    """

    model_config = ConfigDict(extra="ignore")

    grant_type: Word
    client_id: Word | None = None
    client_secret: OpaqueToken | None = None
    client_assertion_type: Word | None = None
    client_assertion: Annotated[str, Field(min_length=1, max_length=MAX_ASSERTION)] | None = None
    scope: Annotated[str, Field(max_length=1024)] = ""
    audience: Word | None = None
    tenant_id: UUID | None = None
