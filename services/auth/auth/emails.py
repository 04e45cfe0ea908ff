"""Asking for mails: notification writes and sends them."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Self
from uuid import UUID

from servicekit.auth.permissions import Role
from servicekit.encryption import encrypt
from servicekit.events.outbox import publish
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from auth.events import MailDue, MailKind
from auth.models import Membership, Status, Tenant, User
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


async def notify_owners(
    db: AsyncSession, kind: MailKind, tenant: Tenant, *, besides: UUID | None = None, **facts: str
) -> None:
    """Have a notice sent to every owner who can sign in, except one."""
    query = (
        select(User)
        .join(Membership, Membership.user_id == User.id)
        .where(
            Membership.tenant_id == tenant.id,
            Membership.role == Role.OWNER,
            User.status == Status.ACTIVE,
            User.id.is_distinct_from(besides),
        )
        .order_by(Membership.created_at, User.id)
    )
    told = {"tenant_name": tenant.name, **facts}
    expires_at = datetime.now(UTC) + NOTICE_LIFE
    for user in await db.scalars(query):
        to = Recipient.of(user)
        ask(db, kind, to, told, tenant_id=tenant.id, expires_at=expires_at)
