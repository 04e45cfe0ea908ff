"""Asking for mails: notification writes and sends them."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Self
from uuid import UUID

from servicekit.encryption import encrypt
from servicekit.events.outbox import publish
from sqlalchemy.ext.asyncio import AsyncSession

from auth.events import MailDue, MailKind
from auth.models import User
from auth.security.one_time_tokens import Fresh
from auth.services import Parts

# A notice that could not be sent by then is no news any more.
NOTICE_LIFE = timedelta(days=2)


@dataclass(frozen=True)
class Recipient:
    """Who gets a mail, and where."""

    id: str
    email: str
    display_name: str | None = None

    @classmethod
    def of(cls, user: User) -> Self:
        """Write to a person, at the address of their account."""
        return cls(user.subject, user.email, user.display_name)


def send(  # noqa: PLR0913  # the parts of a mail
    db: AsyncSession,
    parts: Parts,
    kind: MailKind,
    to: Recipient,
    *,
    tenant_id: UUID | None = None,
    fresh: Fresh | None = None,
    **facts: str,
) -> None:
    """Have a mail sent when the transaction is committed; its token can be read by nobody on the way."""
    token = encrypt(parts.settings.event_sealing_key, fresh.token, context=to.id) if fresh else None
    expires_at = fresh.expires_at if fresh else datetime.now(UTC) + NOTICE_LIFE
    ask(db, kind, to, facts, tenant_id=tenant_id, token=token, expires_at=expires_at)


def say_farewell(db: AsyncSession, to: Recipient) -> None:
    """Have the last mail sent to somebody, of whom we know nothing any more from then on."""
    ask(db, MailKind.ACCOUNT_DELETED, to, {}, expires_at=datetime.now(UTC) + NOTICE_LIFE)


def ask(  # noqa: PLR0913  # the parts of a mail
    db: AsyncSession,
    kind: MailKind,
    to: Recipient,
    facts: dict[str, str],
    *,
    tenant_id: UUID | None = None,
    token: str | None = None,
    expires_at: datetime,
) -> None:
    """Tell notification of a mail; its token is sealed."""
    due = MailDue(
        kind=kind,
        recipient=to.id,
        tenant_id=tenant_id,
        email=to.email,
        display_name=to.display_name,
        facts=facts,
        token=token,
        expires_at=expires_at,
    )
    publish(db, due, tenant_id=tenant_id, subject=to.id)
