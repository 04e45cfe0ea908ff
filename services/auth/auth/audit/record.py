"""Writes the audit log: in the transaction of the change, or alone where nothing was changed."""

import logging
from collections.abc import Mapping
from enum import StrEnum
from functools import partial
from typing import Any
from uuid import UUID, uuid4

from servicekit import context
from servicekit.database import Database
from sqlalchemy.event import listen
from sqlalchemy.ext.asyncio import AsyncSession

from auth import client_info
from auth.models import AuditEvent

logger = logging.getLogger(__name__)


class Action(StrEnum):
    """What happened."""

    LOGIN_SUCCESS = "authn_login_success"
    LOGIN_FAIL = "authn_login_fail"
    LOGIN_SUCCESS_AFTER_FAIL = "authn_login_successafterfail"
    LOGIN_LOCK = "authn_login_lock"
    ADDRESS_BLOCKED = "excess_rate_limit_exceeded"
    NEW_DEVICE = "authn_new_device"
    # From where nobody gets in the time since the last one.
    IMPOSSIBLE_TRAVEL = "authn_impossible_travel"
    # On many accounts, so of nobody: the operators' tenant has them.
    PASSWORD_SPRAYING = "malicious_password_spraying"  # noqa: S105  # a word, not a password
    CREDENTIAL_STUFFING = "malicious_credential_stuffing"
    TOKEN_REUSE = "authn_token_reuse"  # noqa: S105  # a word, not a token
    TOKEN_CREATED = "authn_token_created"  # noqa: S105  # a word, not a token
    TOKEN_ROTATED = "authn_token_rotated"  # noqa: S105  # a word, not a token
    TOKEN_REVOKED = "authn_token_revoked"  # noqa: S105  # a word, not a token
    # Of keys whose holder may hold none any more.
    TOKENS_ORPHANED = "authn_tokens_orphaned"  # a word, not a token
    PASSWORD_CHANGED = "authn_password_change"  # noqa: S105
    PASSWORD_RESET_REQUESTED = "authn_password_reset_requested"  # noqa: S105
    PASSWORD_RESET = "authn_password_reset"  # noqa: S105
    SECOND_FACTOR_FAIL = "authn_second_factor_fail"
    SECOND_FACTOR_BLOCKED = "authn_second_factor_lock"
    SECOND_FACTOR_ADDED = "authn_second_factor_added"
    SECOND_FACTOR_REMOVED = "authn_second_factor_removed"
    SECOND_FACTORS_RESET = "authn_second_factors_reset"
    RECOVERY_CODE_USED = "authn_recovery_code_used"
    RECOVERY_CODES_RENEWED = "authn_recovery_codes_renewed"
    # A credential has signed less often than before: there is a copy of it.
    PASSKEY_CLONED = "authn_passkey_cloned"
    PASSKEY_RENAMED = "authn_passkey_renamed"
    STEP_UP = "authn_step_up"
    AUTHZ_FAIL = "authz_fail"
    SESSION_ENDED = "session_ended"
    # By an operator: of a person, of a tenant, or of everybody.
    SESSIONS_ENDED = "sessions_ended"
    USER_CREATED = "user_created"
    EMAIL_VERIFIED = "user_email_verified"
    EMAIL_CHANGE_REQUESTED = "user_email_change_requested"
    EMAIL_CHANGED = "user_email_changed"
    USER_UPDATED = "user_updated"
    USER_CLOSED = "user_closed"
    USER_RESTORED = "user_restored"
    USER_DELETED = "user_deleted"
    USER_EXPORTED = "user_exported"
    TENANT_CREATED = "tenant_created"
    TENANT_CHANGED = "tenant_changed"
    TENANT_MFA_CHANGED = "tenant_mfa_changed"
    TENANT_SUSPENDED = "tenant_suspended"
    TENANT_REACTIVATED = "tenant_reactivated"
    TENANT_DELETED = "tenant_deleted"
    TENANT_SWITCHED = "tenant_switched"
    ROLE_CHANGED = "authz_change"
    MEMBER_REMOVED = "member_removed"
    INVITE_CREATED = "invite_created"
    INVITE_RESENT = "invite_resent"
    INVITE_REVOKED = "invite_revoked"
    INVITE_ACCEPTED = "invite_accepted"
    ACCESS_REQUESTED = "access_requested"
    ACCESS_APPROVED = "access_approved"
    ACCESS_REJECTED = "access_rejected"


def record(  # noqa: PLR0913  # the columns of the log
    db: AsyncSession,
    action: Action,
    *,
    tenant_id: UUID | None = None,
    actor: str | None = None,
    subject: str | None = None,
    session_id: UUID | None = None,
    **detail: Any,
) -> None:
    """Record an event in the transaction, and in the service's log when it commits.

    `detail` holds no secret, no address and no name: the log leaves the machine.
    """
    from_where, event_id = client_info.current_client(), uuid4()
    what = {
        "action": action.value,
        "tenant_id": tenant_id,
        "actor": actor,
        "subject": subject if subject is not None else actor,
        "session_id": session_id,
        "detail": detail,
    }
    digest = from_where.digest if from_where else None
    request_id = context.request_id()
    db.add(AuditEvent(id=event_id, address_digest=digest, request_id=request_id, **what))
    log_on_commit(db, event_id, what)


def log_on_commit(db: AsyncSession, event_id: UUID, what: Mapping[str, Any]) -> None:
    """Write a row to the service's log when the transaction commits."""
    named = {name: str(value) for name, value in what.items() if value is not None}
    fields = {"audit_id": str(event_id), **named, "detail": what["detail"]}
    log = partial(logger.info, "audit", extra=fields)
    listen(db.sync_session, "after_commit", lambda _session: log(), once=True)


async def record_alone(database: Database, action: Action, **what: Any) -> None:
    """Record an event in a transaction of its own, for a rejected request."""
    async with database.begin() as db:
        record(db, action, **what)
