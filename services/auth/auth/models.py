"""The tables of auth."""

from datetime import datetime
from enum import Enum
from typing import ClassVar
from uuid import UUID, uuid4

from servicekit.database import metadata
from servicekit.events import outbox
from servicekit.permissions import Role
from sqlalchemy import Enum as OneOf
from sqlalchemy import ForeignKey, Index, Text, UniqueConstraint, func
from sqlalchemy.dialects.postgresql import ARRAY, TIMESTAMP
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Status(Enum):
    """What has become of an account."""

    # Signed up, and the address not yet confirmed though it must be: nobody has ever been inside.
    PENDING = "pending"
    ACTIVE = "active"
    DISABLED = "disabled"


class Purpose(Enum):
    """What the token of a mail is good for."""

    EMAIL_VERIFICATION = "email_verification"


class EndReason(Enum):
    """Why a session ended before its time."""

    LOGOUT = "logout"
    LOGOUT_ALL = "logout_all"
    TOKEN_REUSED = "token_reused"  # noqa: S105  # a word, not a token
    ACCOUNT = "account"


def one_of(kind: type[Enum], name: str) -> OneOf:
    """Keep an enumeration as text with a check; types of Postgres' own are laborious to change."""
    return OneOf(
        kind,
        native_enum=False,
        create_constraint=True,
        length=32,
        name=name,
        values_callable=lambda members: [member.value for member in members],
    )


class Base(DeclarativeBase):
    """The registry of this service's tables."""

    metadata = metadata()
    type_annotation_map: ClassVar = {
        datetime: TIMESTAMP(timezone=True),
        str: Text,
        list[str]: ARRAY(Text),
        Status: one_of(Status, "status"),
        Purpose: one_of(Purpose, "purpose"),
        EndReason: one_of(EndReason, "end_reason"),
        Role: one_of(Role, "role"),
    }


class User(Base):
    """A person. `email` is where mail goes; `email_key`, its normal form, makes one address one account."""

    __tablename__ = "users"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    email: Mapped[str]
    email_key: Mapped[str] = mapped_column(unique=True)
    display_name: Mapped[str | None]
    password_hash: Mapped[str | None]
    status: Mapped[Status]
    email_verified_at: Mapped[datetime | None]
    terms_accepted_at: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())

    @property
    def subject(self) -> str:
        """The id that tokens and other services know this person by."""
        return f"user:{self.id}"


class Tenant(Base):
    """A customer: the people and data that belong together."""

    __tablename__ = "tenants"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    slug: Mapped[str] = mapped_column(unique=True)
    name: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class Membership(Base):
    """What a person is in a tenant."""

    __tablename__ = "memberships"

    tenant_id: Mapped[UUID] = mapped_column(ForeignKey(Tenant.id, ondelete="CASCADE"), primary_key=True)
    user_id: Mapped[UUID] = mapped_column(
        ForeignKey(User.id, ondelete="CASCADE"), primary_key=True, index=True
    )
    role: Mapped[Role]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class Session(Base):
    """A session: what one sign-in began, and the family of all the refresh tokens that follow from it.

    `key` takes part in deriving each refresh token from the one before; alone it opens nothing.
    """

    __tablename__ = "sessions"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    user_id: Mapped[UUID] = mapped_column(ForeignKey(User.id, ondelete="CASCADE"), index=True)
    tenant_id: Mapped[UUID] = mapped_column(ForeignKey(Tenant.id, ondelete="CASCADE"), index=True)
    key: Mapped[bytes]
    amr: Mapped[list[str]]
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime] = mapped_column(index=True)
    ended_at: Mapped[datetime | None]
    end_reason: Mapped[EndReason | None]


class RefreshToken(Base):
    """One link of a session's chain, known by its digest alone; a session has one of each generation."""

    __tablename__ = "refresh_tokens"
    __table_args__ = (UniqueConstraint("session_id", "generation"),)

    digest: Mapped[bytes] = mapped_column(primary_key=True)
    session_id: Mapped[UUID] = mapped_column(ForeignKey(Session.id, ondelete="CASCADE"))
    generation: Mapped[int]
    expires_at: Mapped[datetime] = mapped_column(index=True)
    consumed_at: Mapped[datetime | None]


class EmailToken(Base):
    """The token of a mail, known by its digest, for one purpose and the address that it was sent to."""

    __tablename__ = "email_tokens"
    __table_args__ = (Index(None, "user_id", "purpose"),)

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    user_id: Mapped[UUID] = mapped_column(ForeignKey(User.id, ondelete="CASCADE"))
    purpose: Mapped[Purpose]
    email_key: Mapped[str]
    digest: Mapped[bytes]
    expires_at: Mapped[datetime] = mapped_column(index=True)
    used_at: Mapped[datetime | None]


outbox.to_metadata(Base.metadata)
