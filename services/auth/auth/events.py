"""What auth tells other services."""

from typing import ClassVar
from uuid import UUID

from pydantic import AwareDatetime, BaseModel
from servicekit.events import Event


class Verification(BaseModel):
    """What the confirming link of a mail is made of."""

    # Sealed with EVENT_SEALING_KEY in the context of the user's id: only who sends the mail can read it.
    token: str
    expires_at: AwareDatetime


class MailToConfirm(Event):
    """What both events tell: whose address is to be confirmed, and with what."""

    user_id: str
    tenant_id: UUID
    email: str
    display_name: str | None
    tenant_name: str
    verification: Verification


class UserRegistered(MailToConfirm):
    """Somebody has signed up."""

    type: ClassVar[str] = "auth.user.registered.v1"


class EmailVerificationRequested(MailToConfirm):
    """Somebody who has signed up wants the confirming mail again."""

    type: ClassVar[str] = "auth.email_verification.requested.v1"
