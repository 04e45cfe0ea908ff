"""The schemas of second factors, passkeys and magic links."""

import re
import unicodedata
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Literal, Self
from uuid import UUID

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    StringConstraints,
    model_validator,
)
from servicekit.schemas import RequestModel

from auth.email_address import Email
from auth.schemas import DeviceToken, DisplayName, OpaqueToken, Password, Secret, TokenResponse

SEPARATORS = re.compile(r"[\s\u00AD\u200B\u2060\u2010-\u2015\u2212_.-]+")


def without_separators(code: object) -> object:
    """Return a code without spaces and dashes, in plain letters and digits, however a person has typed it."""
    return SEPARATORS.sub("", unicodedata.normalize("NFKC", code)) if isinstance(code, str) else code


def none_if_empty(value: object) -> object:
    """Return None for an empty text, which some authenticators send in place of nothing."""
    return None if value == "" else value


TypedCode = Annotated[Secret, BeforeValidator(without_separators)]
# Six digits are looked at as text: a zero in front counts.
Code = Annotated[TypedCode, Field(min_length=6, max_length=6, examples=["123456"])]
RecoveryCodeText = Annotated[
    TypedCode, Field(min_length=16, max_length=64, examples=["3abc-defg-hjkm-npqr-stvw-xyz2-4567"])
]
# Canonical enough for every browser, and nothing that a decoder would trip over.
Base64Url = Annotated[str, StringConstraints(pattern=r"^(?:[A-Za-z0-9_-]{4})*(?:[A-Za-z0-9_-]{2,3})?$")]
Short = Annotated[Base64Url, Field(min_length=2, max_length=1400)]
Long = Annotated[Base64Url, Field(min_length=2, max_length=16_384)]
PasskeyType = Literal["public-key"]


class FromBrowser(BaseModel):
    """What a browser makes of a credential (`toJSON()`, WebAuthn level 3); more than we know is ignored."""

    model_config = ConfigDict(extra="ignore", populate_by_name=True)


class AttestationResponse(FromBrowser):
    """What an authenticator says of a new passkey."""

    client_data: Long = Field(alias="clientDataJSON")
    attestation_object: Long = Field(alias="attestationObject")


class Attestation(FromBrowser):
    """A new passkey."""

    id: Short
    raw_id: Short = Field(alias="rawId")
    type: PasskeyType
    response: AttestationResponse


class AssertionResponse(FromBrowser):
    """What a passkey has signed."""

    client_data: Long = Field(alias="clientDataJSON")
    authenticator_data: Long = Field(alias="authenticatorData")
    signature: Short
    user_handle: Annotated[Short | None, BeforeValidator(none_if_empty)] = Field(None, alias="userHandle")


class Assertion(FromBrowser):
    """A passkey in use."""

    id: Short
    raw_id: Short = Field(alias="rawId")
    type: PasskeyType
    response: AssertionResponse


class Proof(RequestModel):
    """One factor, shown: a code of the app, a recovery code, or a passkey that has signed the challenge."""

    code: Code | None = None
    recovery_code: RecoveryCodeText | None = None
    passkey: Assertion | None = None

    @model_validator(mode="after")
    def one_alone(self) -> Self:
        """Reject no proof and more than one."""
        names = self.model_fields_set & PROOFS
        if len(names) != 1 or any(getattr(self, name) is None for name in names):
            raise ValueError("send exactly one proof")
        return self


PROOFS = frozenset({"code", "recovery_code", "passkey", "password"})


class SecondFactor(Proof):
    """The answer to the challenge of a sign-in."""

    challenge: OpaqueToken
    device: DeviceToken | None = None


class StepUp(Proof):
    """A new proof of who one is; a passkey comes with the challenge that it has signed."""

    password: Password | None = None
    challenge: OpaqueToken | None = None


class PasskeySignIn(RequestModel):
    """A passkey that tells who it is; without a tenant, it is the one that they joined first."""

    challenge: OpaqueToken
    passkey: Assertion
    tenant_id: UUID | None = None
    device: DeviceToken | None = None


class NewPasskey(RequestModel):
    """A passkey to register, by a name of one's own."""

    challenge: OpaqueToken
    passkey: Attestation
    name: DisplayName = "Passkey"


class PasskeyName(RequestModel):
    """Another name for a passkey."""

    name: DisplayName


class PasskeyOptions(BaseModel):
    """What a browser needs to make or use a passkey; `challenge` comes back with what it made."""

    challenge: str
    options: dict[str, JsonValue]


class EnrolmentChallenge(RequestModel):
    """The challenge of a sign-in to a tenant that requires a second factor."""

    challenge: OpaqueToken


class EnrolmentCode(EnrolmentChallenge):
    """The first code of the app that was set up, to finish the sign-in."""

    code: Code


class TotpCode(RequestModel):
    """The code that the app shows now."""

    code: Code


class NewTotp(BaseModel):
    """What an authenticator app is set up with; shown once. It counts when one code was right."""

    seed: str
    otpauth_uri: str


class RecoveryCodes(BaseModel):
    """New recovery codes, shown once; ones from before are void."""

    recovery_codes: list[str]


class FactorAdded(BaseModel):
    """A factor counts from now on; with the first come recovery codes, shown once."""

    recovery_codes: list[str] | None


class Enrolled(TokenResponse):
    """The session that the sign-in was for; recovery codes are shown once."""

    recovery_codes: list[str] | None


class PasskeyAdded(FactorAdded):
    """The passkey that was registered."""

    passkey: "PasskeyFactor"


class TotpFactor(BaseModel):
    """The authenticator app."""

    model_config = ConfigDict(from_attributes=True)

    confirmed_at: datetime


class PasskeyFactor(BaseModel):
    """A passkey."""

    model_config = ConfigDict(from_attributes=True)

    id: UUID
    name: str
    created_at: datetime
    last_used_at: datetime | None


class Factors(BaseModel):
    """All of one's factors."""

    totp: TotpFactor | None
    passkeys: Sequence[PasskeyFactor]
    recovery_codes_left: int


class MagicLinkRequest(RequestModel):
    """Where to send the link."""

    email: Email


class MagicLinkSent(BaseModel):
    """The same answer whatever is known of the address; `binding` comes back with the link's token."""

    detail: str = "If this address has an account, a mail with a link is on its way."
    binding: str


class MagicLink(RequestModel):
    """The token of a link, and what the browser was given that asked for it."""

    token: OpaqueToken
    binding: OpaqueToken
    tenant_id: UUID | None = None
    device: DeviceToken | None = None
