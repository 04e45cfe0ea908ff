"""The tokens of emails: `<id>.<secret>`, single-use, for one purpose and address, short-lived."""

import re
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Self
from uuid import UUID, uuid4

from pydantic import SecretStr
from servicekit.auth import jose
from sqlalchemy import ColumnElement, and_, delete, false, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from auth.configuration.types import Keys
from auth.models import EmailToken, Purpose, Status, User
from auth.security.keyed_hash import keyed_hash
from auth.settings import Settings

SECRET_BYTES = 32
FORMAT = re.compile(r"([0-9a-f]{32})\.([A-Za-z0-9_-]{43})")


@dataclass(frozen=True)
class IssuedToken:
    """A token in plain text, for the email only."""

    token: str
    expires_at: datetime


@dataclass(frozen=True)
class EmailTokens:
    """Issues and redeems tokens. Each digest has its purpose in it, so none passes for another."""

    # Of each the first is for new tokens, and all of them verify.
    peppers: dict[Purpose, Keys]
    lifetimes: dict[Purpose, timedelta]

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        """Build from the settings."""
        return cls(
            peppers={
                Purpose.EMAIL_VERIFICATION: settings.mail_peppers,
                Purpose.PASSWORD_RESET: settings.reset_peppers,
                Purpose.EMAIL_CHANGE: settings.mail_peppers,
                Purpose.MAGIC_LINK: derive_peppers(settings.mail_peppers, "magic link"),
                Purpose.ACCOUNT_RESTORE: derive_peppers(settings.reset_peppers, "account restore"),
            },
            lifetimes={
                Purpose.EMAIL_VERIFICATION: timedelta(minutes=settings.email_verification_token_ttl_minutes),
                Purpose.PASSWORD_RESET: timedelta(minutes=settings.password_reset_token_ttl_minutes),
                Purpose.EMAIL_CHANGE: timedelta(minutes=settings.email_verification_token_ttl_minutes),
                Purpose.MAGIC_LINK: timedelta(minutes=settings.magic_link_token_ttl_minutes),
                Purpose.ACCOUNT_RESTORE: timedelta(days=settings.auth_account_deletion_grace_days),
            },
        )

    async def issue(
        self,
        db: AsyncSession,
        user: User,
        purpose: Purpose,
        *,
        email_key: str | None = None,
        bound_to: str = "",
    ) -> IssuedToken:
        """Create the only valid token of a user for a purpose: earlier ones become invalid.

        It is for the address of the account, or for the one whose normal form is given; with `bound_to`, it
        is good only together with that.

        The caller holds the person's row, or two calls at once would leave two good tokens.
        """
        await self.invalidate(db, user, EmailToken.purpose == purpose)
        token_id, secret = uuid4(), jose.encode(secrets.token_bytes(SECRET_BYTES))
        expires_at = datetime.now(UTC) + self.lifetimes[purpose]
        db.add(
            EmailToken(
                id=token_id,
                user_id=user.id,
                purpose=purpose,
                email_key=email_key or user.email_key,
                digest=self._digests(purpose, token_id, secret, bound_to)[0],
                expires_at=expires_at,
            )
        )
        return IssuedToken(f"{token_id.hex}.{secret}", expires_at)

    async def invalidate(self, db: AsyncSession, user: User, *which: ColumnElement[bool]) -> None:
        """Invalidate tokens of a user."""
        unused = (EmailToken.user_id == user.id, EmailToken.used_at.is_(None))
        await db.execute(delete(EmailToken).where(*unused, *which))

    async def owner(self, db: AsyncSession, token: str, purpose: Purpose) -> User | None:
        """Return the owner of a valid token whose address is still the one that it was sent to."""
        theirs = and_(User.id == EmailToken.user_id, User.email_key == EmailToken.email_key)
        good = select(User).join(EmailToken, theirs).where(*self._is_valid(token, purpose))
        user: User | None = await db.scalar(good)
        return user

    async def redeem(
        self, db: AsyncSession, token: str, purpose: Purpose, *, bound_to: str = ""
    ) -> tuple[UUID, str] | None:
        """Consume a token; return its user and address, or None when it is invalid."""
        good = self._is_valid(token, purpose, bound_to)
        # Their row first, as when a token is issued: else the two could wait for each other for ever.
        whose = select(EmailToken.user_id).where(*good).scalar_subquery()
        await db.execute(select(User.id).where(User.id == whose).with_for_update())
        # One statement: of many at once, one finds it unused.
        used = await db.execute(
            update(EmailToken)
            .where(*good)
            .values(used_at=func.now())
            .returning(EmailToken.user_id, EmailToken.email_key)
        )
        row = used.one_or_none()
        return (row.user_id, row.email_key) if row else None

    async def reassign(self, db: AsyncSession, token: str, user: User) -> None:
        """Make a user the owner of a redeemed token, whose own is about to be deleted."""
        token_id = UUID(token.partition(".")[0])
        await db.execute(update(EmailToken).where(EmailToken.id == token_id).values(user_id=user.id))

    async def redeemed_by(self, db: AsyncSession, token: str, purpose: Purpose) -> User | None:
        """Return the owner of a token that was redeemed, if the address is still the one it was sent to.

        A link may be opened twice: by a mail scanner, and then by the person.
        """
        theirs = and_(User.id == EmailToken.user_id, User.email_key == EmailToken.email_key)
        used = (*self._matches(token, purpose), EmailToken.used_at.is_not(None), User.status == Status.ACTIVE)
        user: User | None = await db.scalar(select(User).join(EmailToken, theirs).where(*used))
        return user

    def _is_valid(self, token: str, purpose: Purpose, bound_to: str = "") -> list[ColumnElement[bool]]:
        return [*self._matches(token, purpose, bound_to), EmailToken.used_at.is_(None)]

    def _matches(self, token: str, purpose: Purpose, bound_to: str = "") -> list[ColumnElement[bool]]:
        if not (match := FORMAT.fullmatch(token)):
            return [false()]
        token_id = UUID(match[1])
        return [
            EmailToken.id == token_id,
            EmailToken.purpose == purpose,
            EmailToken.digest.in_(self._digests(purpose, token_id, match[2], bound_to)),
            EmailToken.expires_at > func.now(),
        ]

    def _digests(self, purpose: Purpose, token_id: UUID, secret: str, bound_to: str) -> list[bytes]:
        parts = [token_id.bytes, secret.encode(), *([bound_to.encode()] if bound_to else [])]
        return [keyed_hash(pepper, purpose.value, *parts) for pepper in self.peppers[purpose]]


def derive_peppers(peppers: Keys, use: str) -> Keys:
    """Derive peppers for a use that has no variable of its own."""
    return tuple(SecretStr(keyed_hash(pepper, f"pepper: {use}").hex()) for pepper in peppers)
