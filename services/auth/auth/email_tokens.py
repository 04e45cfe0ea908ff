"""The tokens of mails: `<id>.<secret>`, good once, for one purpose and address, for a short time."""

import re
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Self
from uuid import UUID, uuid4

from pydantic import SecretStr
from servicekit import jose
from sqlalchemy import delete, func, update
from sqlalchemy.ext.asyncio import AsyncSession

from auth.digests import digest
from auth.models import EmailToken, Purpose, User
from auth.settings import Settings

SECRET_BYTES = 32
FORM = re.compile(r"([0-9a-f]{32})\.([A-Za-z0-9_-]{43})")


@dataclass(frozen=True)
class Fresh:
    """A token as it goes into the mail, and nowhere else."""

    token: str
    expires_at: datetime


@dataclass(frozen=True)
class EmailTokens:
    """Issues and redeems tokens. Each purpose has a pepper of its own, so none passes for another."""

    peppers: dict[Purpose, SecretStr]
    lifetimes: dict[Purpose, timedelta]

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Build from the settings."""
        return cls(
            peppers={Purpose.EMAIL_VERIFICATION: settings.auth_email_verification_token_pepper},
            lifetimes={
                Purpose.EMAIL_VERIFICATION: timedelta(minutes=settings.email_verification_token_ttl_minutes)
            },
        )

    async def issue(self, db: AsyncSession, user: User, purpose: Purpose) -> Fresh:
        """Make the one good token of a person for a purpose: earlier ones are void.

        The caller holds the person's row, or two calls at once would leave two good tokens.
        """
        older = (EmailToken.user_id == user.id, EmailToken.purpose == purpose, EmailToken.used_at.is_(None))
        await db.execute(delete(EmailToken).where(*older))
        token_id, secret = uuid4(), jose.encode(secrets.token_bytes(SECRET_BYTES))
        expires_at = datetime.now(UTC) + self.lifetimes[purpose]
        db.add(
            EmailToken(
                id=token_id,
                user_id=user.id,
                purpose=purpose,
                email_key=user.email_key,
                digest=self._digest(purpose, token_id, secret),
                expires_at=expires_at,
            )
        )
        return Fresh(f"{token_id.hex}.{secret}", expires_at)

    async def redeem(self, db: AsyncSession, token: str, purpose: Purpose) -> tuple[UUID, str] | None:
        """Use a token up; gives whose it was and for which address, or None when it is not good."""
        if not (match := FORM.fullmatch(token)):
            return None
        token_id = UUID(match[1])
        # One statement: of many at once, one finds it unused.
        used = await db.execute(
            update(EmailToken)
            .where(
                EmailToken.id == token_id,
                EmailToken.purpose == purpose,
                EmailToken.digest == self._digest(purpose, token_id, match[2]),
                EmailToken.used_at.is_(None),
                EmailToken.expires_at > func.now(),
            )
            .values(used_at=func.now())
            .returning(EmailToken.user_id, EmailToken.email_key)
        )
        row = used.one_or_none()
        return (row.user_id, row.email_key) if row else None

    def _digest(self, purpose: Purpose, token_id: UUID, secret: str) -> bytes:
        return digest(self.peppers[purpose], purpose.value, token_id.bytes, secret)
