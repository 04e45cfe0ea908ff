"""The tables of tenants, memberships, invites and sign-up requests."""

from datetime import datetime
from enum import Enum
from uuid import UUID, uuid4

from servicekit.auth.permissions import Role
from sqlalchemy import ForeignKey, Index, false, func, text
from sqlalchemy.orm import Mapped, mapped_column

from auth.models.base import Base, string_enum
from auth.models.users import User


class TenantStatus(Enum):
    """The status of a tenant."""

    ACTIVE = "active"
    # Nobody gets in; everything is kept.
    SUSPENDED = "suspended"
    # Nobody gets in, its slug is free, and what is left of it goes at `purge_after`.
    DELETED = "deleted"


class OrphanedApiKeys(Enum):
    """What happens to API keys whose holders may not hold keys any more."""

    STOP = "stop"
    # They go on with the scopes that they were given: the owners answer for them.
    KEEP = "keep"


class Tenant(Base):
    """A customer: the people and data that belong together.

    `version` counts the changes of `status`, for readers of its events; `settings_version` those of the
    settings, for entity tags.
    """

    __tablename__ = "tenants"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    slug: Mapped[str] = mapped_column(unique=True)
    name: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    status: Mapped[TenantStatus] = mapped_column(
        string_enum(TenantStatus, "status"), server_default=TenantStatus.ACTIVE.value
    )
    # An owner cannot reactivate a tenant that an operator has suspended.
    suspended_by_operator: Mapped[bool] = mapped_column(server_default=text("false"))
    version: Mapped[int] = mapped_column(server_default=text("1"))
    purge_after: Mapped[datetime | None] = mapped_column(index=True)
    default_locale: Mapped[str | None]
    # Of addresses that may be invited; none allows all.
    invite_domains: Mapped[list[str]] = mapped_column(server_default=text("'{}'"))
    settings_version: Mapped[int] = mapped_column(server_default=text("1"))
    # Nobody gets tokens for it by one factor alone.
    mfa_required: Mapped[bool] = mapped_column(server_default=false())
    orphaned_api_keys: Mapped[OrphanedApiKeys] = mapped_column(
        string_enum(OrphanedApiKeys, "orphaned_api_keys"), server_default=OrphanedApiKeys.STOP.value
    )


class Membership(Base):
    """A user's membership in a tenant, with a role."""

    __tablename__ = "memberships"

    tenant_id: Mapped[UUID] = mapped_column(ForeignKey(Tenant.id, ondelete="CASCADE"), primary_key=True)
    user_id: Mapped[UUID] = mapped_column(
        ForeignKey(User.id, ondelete="CASCADE"), primary_key=True, index=True
    )
    role: Mapped[Role] = mapped_column(string_enum(Role, "role"))
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class Invite(Base):
    """An invite, by the digest of its token: for one address, or for anyone who has the link.

    With a tenant, into it, in a role, for as long as who invited might still grant that role. Without, it
    lets somebody sign up with a tenant of their own where that is not open to all.
    """

    __tablename__ = "invites"
    __table_args__ = (Index("ix_invites_tenant", "tenant_id", "created_at", "id"),)

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    tenant_id: Mapped[UUID | None] = mapped_column(ForeignKey(Tenant.id, ondelete="CASCADE"))
    role: Mapped[Role | None] = mapped_column(string_enum(Role, "role"))
    email: Mapped[str | None]
    email_key: Mapped[str | None]
    invited_by: Mapped[UUID | None] = mapped_column(ForeignKey(User.id, ondelete="SET NULL"), index=True)
    digest: Mapped[bytes]
    max_uses: Mapped[int]
    uses: Mapped[int] = mapped_column(server_default=text("0"))
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    expires_at: Mapped[datetime] = mapped_column(index=True)
    revoked_at: Mapped[datetime | None]


class RequestStatus(Enum):
    """The status of a sign-up request."""

    PENDING = "pending"
    APPROVED = "approved"
    REJECTED = "rejected"


class SignupRequest(Base):
    """A request for an account; an address has at most one pending."""

    __tablename__ = "signup_requests"
    __table_args__ = (
        Index(
            "uq_signup_requests_pending",
            "email_key",
            unique=True,
            postgresql_where=text("status = 'pending'"),
        ),
        Index("ix_signup_requests_status", "status", "created_at", "id"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    email: Mapped[str]
    email_key: Mapped[str]
    name: Mapped[str]
    company: Mapped[str]
    message: Mapped[str | None]
    status: Mapped[RequestStatus] = mapped_column(
        string_enum(RequestStatus, "status"), server_default=RequestStatus.PENDING.value
    )
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    decided_at: Mapped[datetime | None]
    decided_by: Mapped[UUID | None] = mapped_column(ForeignKey(User.id, ondelete="SET NULL"))
