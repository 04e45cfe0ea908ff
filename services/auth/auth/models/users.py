"""The tables of users, their earlier passwords, and the tokens of emails."""

from datetime import datetime
from enum import Enum
from uuid import UUID, uuid4

from sqlalchemy import ForeignKey, Index, func, text
from sqlalchemy.orm import Mapped, mapped_column

from auth.models.base import Base, string_enum


class Status(Enum):
    """The status of an account."""

    # Signed up, and the address not yet confirmed though it must be: nobody has ever been inside.
    PENDING = "pending"
    ACTIVE = "active"
    DISABLED = "disabled"
    # Its owner leaves: nobody gets in any more, and it is erased at `erase_after` unless they think again.
    CLOSING = "closing"


class Purpose(Enum):
    """What the token of an email is for."""

    EMAIL_VERIFICATION = "email_verification"
    PASSWORD_RESET = "password_reset"  # noqa: S105  # a word, not a password
    EMAIL_CHANGE = "email_change"
    MAGIC_LINK = "magic_link"
    ACCOUNT_RESTORE = "account_restore"


class User(Base):
    """A person. `email` is where mail goes; `email_key`, its normal form, makes one address one account.

    Of pending registrations an address may have several: who confirms it decides which becomes the account.
    """

    __tablename__ = "users"
    __table_args__ = (
        Index("uq_users_email_key", "email_key", unique=True, postgresql_where=text("status <> 'pending'")),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    email: Mapped[str]
    email_key: Mapped[str] = mapped_column(index=True)
    # The address that they want instead, until they have confirmed it.
    new_email: Mapped[str | None]
    display_name: Mapped[str | None]
    password_hash: Mapped[str | None]
    status: Mapped[Status] = mapped_column(string_enum(Status, "status"))
    email_verified_at: Mapped[datetime | None]
    terms_accepted_at: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    erase_after: Mapped[datetime | None] = mapped_column(index=True)
    # In a row, since somebody last got in.
    failed_sign_ins: Mapped[int] = mapped_column(server_default="0")

    @property
    def subject(self) -> str:
        """The id that tokens and other services know this person by."""
        return f"user:{self.id}"


class PasswordHistory(Base):
    """The hash of an earlier password, which a new one must differ from."""

    __tablename__ = "passwords_before"
    __table_args__ = (Index(None, "user_id", "replaced_at"),)

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    user_id: Mapped[UUID] = mapped_column(ForeignKey(User.id, ondelete="CASCADE"))
    password_hash: Mapped[str]
    replaced_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())


class EmailToken(Base):
    """The token of an email, by its digest, for one purpose and one address."""

    __tablename__ = "email_tokens"
    __table_args__ = (Index(None, "user_id", "purpose"),)

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    user_id: Mapped[UUID] = mapped_column(ForeignKey(User.id, ondelete="CASCADE"))
    purpose: Mapped[Purpose] = mapped_column(string_enum(Purpose, "purpose"))
    email_key: Mapped[str]
    digest: Mapped[bytes]
    expires_at: Mapped[datetime] = mapped_column(index=True)
    used_at: Mapped[datetime | None]
