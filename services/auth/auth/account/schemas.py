"""What goes over the wire about one's own account."""

from datetime import datetime
from typing import Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, JsonValue
from servicekit.permissions import Role
from servicekit.wire import Body

from auth.addresses import Email
from auth.models import EndReason
from auth.schemas import DisplayName, NewPassword, OpaqueToken, Password


class ForgottenPassword(Body):
    """Where to send the mail with which a new password can be set."""

    email: Email


class PasswordReset(Body):
    """The token of that mail, and the new password."""

    token: OpaqueToken
    password: NewPassword


class PasswordChange(Body):
    """The present password, and the new one."""

    current_password: Password
    new_password: NewPassword


class EmailChange(Body):
    """The address to be used from now on, and the present password."""

    new_email: Email
    password: Password


class EmailChanged(BaseModel):
    """The new address is that of the account; sign in with it."""

    email_changed: Literal[True] = True


class Profile(Body):
    """What one says of oneself; a name of null is none."""

    display_name: DisplayName | None


class Farewell(Body):
    """The present password, to leave for good."""

    password: Password


class Held(BaseModel):
    """Something that is held of a person."""

    model_config = ConfigDict(from_attributes=True)


class HeldProfile(Held):
    """The account."""

    user_id: str = Field(validation_alias="subject")
    email: str
    new_email: str | None
    email_verified_at: datetime | None
    display_name: str | None
    terms_accepted_at: datetime | None
    created_at: datetime


class HeldMembership(Held):
    """What they are in a tenant."""

    tenant_id: UUID
    name: str
    slug: str
    role: Role
    created_at: datetime


class HeldSession(Held):
    """A session; nothing that opens it."""

    id: UUID
    tenant_id: UUID
    amr: list[str]
    created_at: datetime
    expires_at: datetime
    ended_at: datetime | None
    end_reason: EndReason | None


class HeldEvent(Held):
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

    profile: HeldProfile
    memberships: list[HeldMembership]
    sessions: list[HeldSession]
    audit_events: list[HeldEvent]
