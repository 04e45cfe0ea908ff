"""The tables of sessions and their refresh tokens."""

from datetime import datetime
from enum import Enum
from uuid import UUID, uuid4

from sqlalchemy import ForeignKey, UniqueConstraint, func
from sqlalchemy.orm import Mapped, mapped_column

from auth.models.base import Base, string_enum
from auth.models.tenants import Tenant
from auth.models.users import User


class EndReason(Enum):
    """Why a session ended before its time."""

    LOGOUT = "logout"
    LOGOUT_ALL = "logout_all"
    TOKEN_REUSED = "token_reused"  # noqa: S105  # a word, not a token
    ACCOUNT = "account"
    # The person was removed from the tenant, or left it.
    MEMBERSHIP = "membership"
    # The tenant was suspended or deleted.
    TENANT = "tenant"
    # Went on in another tenant.
    SWITCHED = "switched"
    # By its owner, from another session; and because its owner has begun too many others.
    REVOKED = "revoked"
    EVICTED = "evicted"
    # The tenant requires a second factor, and the session was begun without.
    MFA_REQUIRED = "mfa_required"
    # By an operator of this installation.
    OPERATOR = "operator"


class Session(Base):
    """A session, begun by one sign-in, with the chain of all its refresh tokens.

    `key` takes part in deriving each refresh token from the one before; alone it opens nothing.
    `origin` is sealed for this row alone: what its owner is shown of the device. `address_digest` is keyed.
    """

    __tablename__ = "sessions"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    user_id: Mapped[UUID] = mapped_column(ForeignKey(User.id, ondelete="CASCADE"), index=True)
    tenant_id: Mapped[UUID] = mapped_column(ForeignKey(Tenant.id, ondelete="CASCADE"), index=True)
    key: Mapped[bytes]
    amr: Mapped[list[str]]
    created_at: Mapped[datetime]
    # When its person last proved who they are; refreshing is no proof.
    authenticated_at: Mapped[datetime]
    last_seen_at: Mapped[datetime]
    device_id: Mapped[UUID | None]
    address_digest: Mapped[bytes | None]
    origin: Mapped[str | None]
    expires_at: Mapped[datetime] = mapped_column(index=True)
    ended_at: Mapped[datetime | None]
    end_reason: Mapped[EndReason | None] = mapped_column(string_enum(EndReason, "end_reason"))


class RefreshToken(Base):
    """A refresh token, by its digest; a session has one of each generation."""

    __tablename__ = "refresh_tokens"
    __table_args__ = (UniqueConstraint("session_id", "generation"),)

    digest: Mapped[bytes] = mapped_column(primary_key=True)
    session_id: Mapped[UUID] = mapped_column(ForeignKey(Session.id, ondelete="CASCADE"))
    generation: Mapped[int]
    expires_at: Mapped[datetime] = mapped_column(index=True)
    consumed_at: Mapped[datetime | None]
    # A keyed digest of what the client is known by that used it up.
    consumed_by: Mapped[bytes | None]


class Revocation(Base):
    """What access tokens are revoked by: `session:<id>`, `subject:user:<id>`, ...

    `session:*` ends every session that was authenticated before its time.

    No foreign keys: it outlives the session that was removed with its person.
    """

    __tablename__ = "revocations"

    key: Mapped[str] = mapped_column(primary_key=True)
    revoked_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp(), index=True)
