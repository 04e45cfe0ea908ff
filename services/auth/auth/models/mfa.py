"""The tables of second factors and of their challenges."""

from datetime import datetime
from enum import Enum
from uuid import UUID, uuid4

from sqlalchemy import BigInteger, ForeignKey, func
from sqlalchemy.orm import Mapped, mapped_column

from auth.models.base import Base, string_enum
from auth.models.tenants import Tenant
from auth.models.users import User


class ChallengePurpose(Enum):
    """What a challenge is for."""

    SECOND_FACTOR = "second_factor"
    PASSKEY_SIGN_IN = "passkey_sign_in"
    PASSKEY_REGISTRATION = "passkey_registration"
    STEP_UP = "step_up"
    # Only to set a first factor up.
    ENROLMENT = "enrolment"


class Totp(Base):
    """Somebody's authenticator app: its seed, sealed with the row's id as context, and the last step used.

    It counts from `confirmed_at` on. A code of `last_step` (30 seconds each, RFC 6238) or before is used up.
    """

    __tablename__ = "totp_factors"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    user_id: Mapped[UUID] = mapped_column(ForeignKey(User.id, ondelete="CASCADE"), unique=True)
    sealed_seed: Mapped[str]
    last_step: Mapped[int] = mapped_column(BigInteger, default=0)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    confirmed_at: Mapped[datetime | None]


class Passkey(Base):
    """A WebAuthn credential of somebody: its public key (COSE), and how often it has signed."""

    __tablename__ = "passkeys"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    user_id: Mapped[UUID] = mapped_column(ForeignKey(User.id, ondelete="CASCADE"), index=True)
    credential_id: Mapped[bytes] = mapped_column(unique=True)
    public_key: Mapped[bytes]
    sign_count: Mapped[int] = mapped_column(BigInteger)
    name: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    last_used_at: Mapped[datetime | None]


class RecoveryCode(Base):
    """A recovery code, found by the keyed digest of its number.

    One of an older version has no `secret_hash`: its digest is of the whole code.
    """

    __tablename__ = "recovery_codes"

    digest: Mapped[bytes] = mapped_column(primary_key=True)
    user_id: Mapped[UUID] = mapped_column(ForeignKey(User.id, ondelete="CASCADE"), index=True)
    secret_hash: Mapped[str | None]
    used_at: Mapped[datetime | None]


class FactorAttempts(Base):
    """The consecutive failures of a user's factors, counted together."""

    __tablename__ = "factor_attempts"

    user_id: Mapped[UUID] = mapped_column(ForeignKey(User.id, ondelete="CASCADE"), primary_key=True)
    failures: Mapped[int]
    blocked_until: Mapped[datetime | None]


class Challenge(Base):
    """A challenge, by its digest: for whom, from which address, and which methods were proved before it."""

    __tablename__ = "challenges"

    digest: Mapped[bytes] = mapped_column(primary_key=True)
    aim: Mapped[ChallengePurpose] = mapped_column(string_enum(ChallengePurpose, "aim"))
    # Nobody yet, where a passkey is to tell who it is.
    user_id: Mapped[UUID | None] = mapped_column(ForeignKey(User.id, ondelete="CASCADE"), index=True)
    tenant_id: Mapped[UUID | None] = mapped_column(ForeignKey(Tenant.id, ondelete="CASCADE"), index=True)
    session_id: Mapped[UUID | None]
    amr: Mapped[list[str]]
    origin_digest: Mapped[bytes]
    expires_at: Mapped[datetime] = mapped_column(index=True)
