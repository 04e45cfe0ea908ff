"""What auth tells other services."""

from enum import StrEnum
from typing import ClassVar
from uuid import UUID

from pydantic import AwareDatetime, BaseModel
from servicekit.events.outbox import Event


class Verification(BaseModel):
    """What the confirming link of a mail is made of."""

    # Sealed with EVENT_SEALING_KEY in the context of the user's id: only who sends the mail can read it.
    token: str
    expires_at: AwareDatetime


class EmailVerificationEvent(Event):
    """What both events tell: whose address is to be confirmed, and with what."""

    user_id: str
    tenant_id: UUID
    email: str
    display_name: str | None
    tenant_name: str
    verification: Verification


class UserRegistered(EmailVerificationEvent):
    """Somebody has signed up."""

    type: ClassVar[str] = "auth.user.registered.v1"


class EmailVerificationRequested(EmailVerificationEvent):
    """Somebody who has signed up wants the confirming mail again."""

    type: ClassVar[str] = "auth.email_verification.requested.v1"


class TenantChanged(Event):
    """What the events of a tenant's life tell; one with a lower `version` than was heard is old news."""

    tenant_id: UUID
    version: int


class TenantSuspended(TenantChanged):
    """Nobody gets into a tenant any more; everything is kept."""

    type: ClassVar[str] = "auth.tenant.suspended.v1"


class TenantReactivated(TenantChanged):
    """A tenant is open again that was suspended, or deleted and not removed yet."""

    type: ClassVar[str] = "auth.tenant.reactivated.v1"


class TenantDeleted(TenantChanged):
    """A tenant is deleted; what others keep of it should go at `purge_after`, unless it is reactivated."""

    type: ClassVar[str] = "auth.tenant.deleted.v1"

    purge_after: AwareDatetime


class UserDeleted(Event):
    """Somebody has left for good, and tenants that nobody else was in with them: forget what is theirs."""

    type: ClassVar[str] = "auth.user.deleted.v1"

    user_id: str
    tenant_ids: list[UUID]


class EmailKind(StrEnum):
    """What a mail is about; notification has a letter for each."""

    # With a token, which is good for what the letter says.
    PASSWORD_RESET = "password_reset"  # noqa: S105  # a word, not a password
    EMAIL_CHANGE = "email_change"
    MAGIC_LINK = "magic_link"
    INVITATION = "invitation"
    ACCOUNT_CLOSING = "account_closing"
    SECOND_FACTORS_RESET = "second_factors_reset"
    # Notices of what has happened.
    PASSWORD_CHANGED = "password_changed"  # noqa: S105
    EMAIL_CHANGED = "email_changed"
    SIGN_IN_BLOCKED = "sign_in_blocked"
    NEW_DEVICE = "new_device"
    IMPOSSIBLE_TRAVEL = "impossible_travel"
    ATTACK_SEEN = "attack_seen"
    SESSION_STOLEN = "session_stolen"
    SECOND_FACTOR_ADDED = "second_factor_added"
    SECOND_FACTOR_REMOVED = "second_factor_removed"
    RECOVERY_CODE_USED = "recovery_code_used"
    RECOVERY_CODES_RENEWED = "recovery_codes_renewed"
    ACCESS_REQUESTED = "access_requested"
    ACCESS_APPROVED = "access_approved"
    ACCESS_REJECTED = "access_rejected"
    MFA_REQUIRED = "mfa_required"
    MFA_OPTIONAL = "mfa_optional"
    ROLE_CHANGED = "role_changed"
    MEMBER_REMOVED = "member_removed"
    OWNERSHIP_TRANSFERRED = "ownership_transferred"
    ACCOUNT_RESTORED = "account_restored"
    ACCOUNT_DELETED = "account_deleted"
    API_KEY_CREATED = "api_key_created"
    API_KEY_ROTATED = "api_key_rotated"
    API_KEY_REVOKED = "api_key_revoked"
    API_KEYS_STOPPED = "api_keys_stopped"
    API_KEYS_KEPT = "api_keys_kept"
    SERVICE_CREDENTIAL_REVOKED = "service_credential_revoked"
    TENANT_SUSPENDED = "tenant_suspended"
    TENANT_REACTIVATED = "tenant_reactivated"
    TENANT_DELETED = "tenant_deleted"


class EmailRequested(Event):
    """Somebody is to get a mail."""

    type: ClassVar[str] = "auth.mail.due.v1"

    kind: EmailKind
    # `user:<id>`, or `mail:<normal form of the address>` of somebody who has no account yet.
    recipient: str
    tenant_id: UUID | None
    email: str
    display_name: str | None
    # What the letter says beside the link: names, roles, times; nothing secret.
    facts: dict[str, str]
    # Sealed with EVENT_SEALING_KEY in the context of the recipient.
    token: str | None
    expires_at: AwareDatetime
