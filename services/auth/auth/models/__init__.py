"""The tables of auth."""

from servicekit.events.outbox import inbox, outbox

from auth.models.audit import AuditEvent
from auth.models.base import Base
from auth.models.machine_credentials import ApiKey, ServiceCredential
from auth.models.mfa import Challenge, ChallengePurpose, FactorAttempts, Passkey, RecoveryCode, Totp
from auth.models.sessions import EndReason, RefreshToken, Revocation, Session
from auth.models.signing_keys import SigningKeyRing
from auth.models.tenants import (
    Invite,
    Membership,
    OrphanedApiKeys,
    RequestStatus,
    SignupRequest,
    Tenant,
    TenantStatus,
)
from auth.models.users import EmailToken, PasswordHistory, Purpose, Status, User

inbox.to_metadata(Base.metadata)
outbox.to_metadata(Base.metadata)

__all__ = [
    "ApiKey",
    "AuditEvent",
    "Base",
    "Challenge",
    "ChallengePurpose",
    "EmailToken",
    "EndReason",
    "FactorAttempts",
    "Invite",
    "Membership",
    "OrphanedApiKeys",
    "Passkey",
    "PasswordHistory",
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
