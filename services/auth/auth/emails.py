"""Requests emails, which notification renders and sends."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Self
from uuid import UUID

from servicekit.auth.permissions import Role
from servicekit.encryption import encrypt
from servicekit.events.outbox import publish
from sqlalchemy import Select, select
from sqlalchemy.ext.asyncio import AsyncSession

from auth.events import EmailKind, EmailRequested
from auth.models import Membership, Status, Tenant, User
from auth.security.one_time_tokens import IssuedToken
from auth.services import AuthServices

# A notice that could not be sent by then is no news any more.
NOTICE_TTL = timedelta(days=2)


@dataclass(frozen=True)
class Recipient:
    """Who gets a mail, and where."""

    id: str
    email: str
    display_name: str | None = None

    @classmethod
    def from_user(cls, user: User) -> Self:
        """Build from a user, with the address of their account."""
        return cls(user.subject, user.email, user.display_name)


def request_email(  # noqa: PLR0913  # the parts of a mail
    db: AsyncSession,
    services: AuthServices,
    kind: EmailKind,
    to: Recipient,
    *,
    tenant_id: UUID | None = None,
    issued: IssuedToken | None = None,
    **facts: str,
) -> None:
    """Request an email, sent once the transaction is committed; its token is encrypted on the way."""
    token = (
        encrypt(services.settings.event_sealing_key.current, issued.token, context=to.id) if issued else None
    )
    expires_at = issued.expires_at if issued else datetime.now(UTC) + NOTICE_TTL
    _publish(db, kind, to, facts, tenant_id=tenant_id, token=token, expires_at=expires_at)


def request_tenant_email(  # noqa: PLR0913  # the parts of a mail
    db: AsyncSession,
    services: AuthServices,
    kind: EmailKind,
    user: User,
    tenant: Tenant,
    *,
    issued: IssuedToken | None = None,
    **facts: str,
) -> None:
    """Request an email to a user that names a tenant."""
    to, facts = Recipient.from_user(user), {"tenant_name": tenant.name, **facts}
    request_email(db, services, kind, to, tenant_id=tenant.id, issued=issued, **facts)


def request_goodbye_email(db: AsyncSession, to: Recipient) -> None:
    """Request the last email to a user who is being erased."""
    _publish(db, EmailKind.ACCOUNT_DELETED, to, {}, expires_at=datetime.now(UTC) + NOTICE_TTL)


def _publish(  # noqa: PLR0913  # the parts of a mail
    db: AsyncSession,
    kind: EmailKind,
    to: Recipient,
    facts: dict[str, str],
    *,
    tenant_id: UUID | None = None,
    token: str | None = None,
    expires_at: datetime,
) -> None:
    """Publish the event that requests an email."""
    due = EmailRequested(
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
    db: AsyncSession, kind: EmailKind, tenant: Tenant, *, besides: UUID | None = None, **facts: str
) -> None:
    """Request an email to every active owner of a tenant, except one."""
    payload = {"tenant_name": tenant.name, **facts}
    expires_at = datetime.now(UTC) + NOTICE_TTL
    owners = active_owners(tenant.id).where(User.id.is_distinct_from(besides))
    for user in await db.scalars(owners):
        to = Recipient.from_user(user)
        _publish(db, kind, to, payload, tenant_id=tenant.id, expires_at=expires_at)


def active_owners(tenant_id: UUID) -> Select[User]:
    """Select the active owners of a tenant, the longest there first."""
    return (
        select(User)
        .join(Membership, Membership.user_id == User.id)
        .where(
            Membership.tenant_id == tenant_id,
            Membership.role == Role.OWNER,
            User.status == Status.ACTIVE,
        )
        .order_by(Membership.created_at, User.id)
    )
