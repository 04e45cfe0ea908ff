"""The schemas of one's own account."""

from datetime import datetime
from typing import Literal, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, JsonValue
from servicekit.auth.permissions import Role
from servicekit.schemas import RequestModel

from auth.email_address import Email
from auth.models import EndReason, RequestStatus, Session
from auth.schemas import DisplayName, NewPassword, OpaqueToken, Password
from auth.sessions.metadata import SessionMetadata


class ForgottenPassword(RequestModel):
    """Where to send the mail with which a new password can be set."""

    email: Email


class PasswordReset(RequestModel):
    """The token of that mail, and the new password."""

    token: OpaqueToken
    password: NewPassword


class PasswordChange(RequestModel):
    """The present password, and the new one."""

    current_password: Password
    new_password: NewPassword


class EmailChange(RequestModel):
    """The address to be used from now on, and the present password."""

    new_email: Email
    password: Password


class EmailChanged(BaseModel):
    """The new address is that of the account; sign in with it."""

    email_changed: Literal[True] = True


class Profile(RequestModel):
    """What one says of oneself; a name of null is none."""

    display_name: DisplayName | None


class DeleteAccount(RequestModel):
    """The present password, to leave for good."""

    password: Password


class ExportRow(BaseModel):
    """A row of a user's data."""

    model_config = ConfigDict(from_attributes=True)


class ExportedProfile(ExportRow):
    """The account."""

    user_id: str = Field(validation_alias="subject")
    email: str
    new_email: str | None
    email_verified_at: datetime | None
    display_name: str | None
    terms_accepted_at: datetime | None
    created_at: datetime
    failed_sign_ins: int


class ExportedMembership(ExportRow):
    """What they are in a tenant."""

    tenant_id: UUID
    name: str
    slug: str
    role: Role
    created_at: datetime


class ExportedSession(ExportRow):
    """A session, and about where it came from; nothing that opens it."""

    id: UUID
    tenant_id: UUID
    amr: list[str]
    created_at: datetime
    authenticated_at: datetime
    last_seen_at: datetime
    expires_at: datetime
    ended_at: datetime | None
    end_reason: EndReason | None
    device_id: UUID | None
    device: str
    address: str | None
    place: str | None

    @classmethod
    def from_row(cls, row: Session, seen: SessionMetadata) -> Self:
        """Build from a row and its decrypted metadata."""
        metadata = seen.model_dump()
        return cls(
            **metadata, **{name: getattr(row, name) for name in cls.model_fields if name not in metadata}
        )


class ExportedDevice(ExportRow):
    """A device that they have signed in from, as far as sessions of it are kept."""

    id: UUID
    name: str
    first_seen_at: datetime
    last_seen_at: datetime


class ExportedTotp(ExportRow):
    """An authenticator app."""

    created_at: datetime
    confirmed_at: datetime | None


class ExportedPasskey(ExportRow):
    """A passkey."""

    id: UUID
    name: str
    created_at: datetime
    last_used_at: datetime | None


class ExportedFactors(ExportRow):
    """What they prove themselves with, beside the password."""

    totp: ExportedTotp | None
    passkeys: list[ExportedPasskey]
    recovery_codes_made: int
    recovery_codes_used: int


class ExportedApiKey(ExportRow):
    """An API key that they have made; `prefix` is how it begins."""

    id: UUID
    tenant_id: UUID
    prefix: str
    name: str
    scopes: list[str]
    networks: list[str]
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    revoked_at: datetime | None


class ExportedReceivedInvite(ExportRow):
    """An invite to their address."""

    id: UUID
    tenant_id: UUID | None
    role: Role | None
    created_at: datetime
    expires_at: datetime
    revoked_at: datetime | None


class ExportedInvite(ExportedReceivedInvite):
    """An invite that they have sent; without an address, whoever had the link could follow it."""

    email: str | None
    max_uses: int
    uses: int


class ExportedSignupRequest(ExportRow):
    """A request of theirs to sign up."""

    name: str
    company: str
    message: str | None
    status: RequestStatus
    created_at: datetime
    decided_at: datetime | None


class ExportedAuditEvent(ExportRow):
    """What the audit log says of them."""

    id: UUID
    happened_at: datetime
    action: str
    tenant_id: UUID | None
    actor: str | None
    subject: str | None
    session_id: UUID | None
    detail: dict[str, JsonValue]


class Export(BaseModel):
    """All that auth holds of a person."""

    profile: ExportedProfile
    memberships: list[ExportedMembership]
    sessions: list[ExportedSession]
    devices: list[ExportedDevice]
    factors: ExportedFactors
    api_keys: list[ExportedApiKey]
    invites_sent: list[ExportedInvite]
    invites_received: list[ExportedReceivedInvite]
    signup_requests: list[ExportedSignupRequest]
    passwords_replaced_at: list[datetime]
    audit_events: list[ExportedAuditEvent]
