"""The events that auth publishes."""

from enum import StrEnum
from typing import ClassVar
from uuid import UUID

from pydantic import AwareDatetime
from servicekit.events.outbox import Event


class UserRegistered(Event):
    """Somebody has signed up; the email address may still have to be verified."""

    type: ClassVar[str] = "auth.user.registered.v1"

    user_id: str
    tenant_id: UUID


class TenantCreated(Event):
    """A tenant was created, by signing up or by somebody who has an account."""

    type: ClassVar[str] = "auth.tenant.created.v1"

    tenant_id: UUID


class TenantChanged(Event):
    """A change of a tenant's status; ignore an event with a lower `version` than one received before."""

    tenant_id: UUID
    version: int


class TenantSuspended(TenantChanged):
    """A tenant was suspended: access is revoked, data is kept."""

    type: ClassVar[str] = "auth.tenant.suspended.v1"


class TenantReactivated(TenantChanged):
    """A suspended tenant, or a deleted one that is not purged yet, was reactivated."""

    type: ClassVar[str] = "auth.tenant.reactivated.v1"


class TenantDeleted(TenantChanged):
    """A tenant was deleted; purge its data at `purge_after` unless it is reactivated before."""

    type: ClassVar[str] = "auth.tenant.deleted.v1"

    purge_after: AwareDatetime


class UserDeleted(Event):
    """A user was erased, with the tenants that had no other member: erase their data."""

    type: ClassVar[str] = "auth.user.deleted.v1"

    user_id: str
    tenant_ids: list[UUID]


class EmailKind(StrEnum):
    """What an email is about; notification has a template for each."""

    # With a token, which the link of the email carries.
    EMAIL_VERIFICATION = "email_verification"
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
    ACCOUNT_EXISTS = "account_exists"
    ACCOUNT_RESTORED = "account_restored"
    ACCOUNT_DELETED = "account_deleted"
    API_KEY_CREATED = "api_key_created"
    API_KEY_ROTATED = "api_key_rotated"
    API_KEY_REVOKED = "api_key_revoked"
    API_KEYS_STOPPED = "api_keys_stopped"
    API_KEYS_STILL_ACTIVE = "api_keys_kept"
    SERVICE_CREDENTIAL_REVOKED = "service_credential_revoked"
    TENANT_SUSPENDED = "tenant_suspended"
    TENANT_REACTIVATED = "tenant_reactivated"
    TENANT_DELETED = "tenant_deleted"


class EmailRequested(Event):
    """An email is to be sent."""

    type: ClassVar[str] = "auth.email.requested.v1"

    kind: EmailKind
    # `user:<id>`, or `mail:<normal form of the address>` where it has no account.
    recipient: str
    tenant_id: UUID | None
    email: str
    display_name: str | None
    # What the email says beside the link: names, roles, times; nothing secret.
    facts: dict[str, str]
    # Sealed with EVENT_SEALING_KEY in the context of the recipient.
    token: str | None
    expires_at: AwareDatetime
