"""The tables of auth."""

from servicekit.events.outbox import outbox

from auth.models.audit import AuditEvent
from auth.models.base import Base
from auth.models.factors import Aim, Challenge, FactorAttempts, Passkey, RecoveryCode, Totp
from auth.models.keys import SigningKeyRing
from auth.models.machines import ApiKey, ServiceCredential
from auth.models.people import EmailToken, PasswordBefore, Purpose, Status, User
from auth.models.sessions import EndReason, RefreshToken, Revocation, Session
from auth.models.tenants import (
    Invite,
    Membership,
    OrphanedApiKeys,
    RequestStatus,
    SignupRequest,
    Tenant,
    TenantStatus,
)

outbox.to_metadata(Base.metadata)

__all__ = [
    "Aim",
    "ApiKey",
    "AuditEvent",
    "Base",
    "Challenge",
    "EmailToken",
    "EndReason",
    "FactorAttempts",
    "Invite",
    "Membership",
    "OrphanedApiKeys",
    "Passkey",
    "PasswordBefore",
    "Purpose",
    "RecoveryCode",
    "RefreshToken",
    "RequestStatus",
    "Revocation",
    "ServiceCredential",
    "Session",
    "SigningKeyRing",
    "SignupRequest",
    "Status",
    "Tenant",
    "TenantStatus",
    "Totp",
    "User",
]
