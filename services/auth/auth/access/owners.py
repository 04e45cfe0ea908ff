"""Notices to the owners of a tenant."""

from datetime import UTC, datetime
from uuid import UUID

from servicekit.auth.permissions import Role
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from auth import emails
from auth.events import MailKind
from auth.models import Membership, Status, Tenant, User


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
    expires_at = datetime.now(UTC) + emails.NOTICE_LIFE
    for user in await db.scalars(query):
        to = emails.Recipient.of(user)
        emails.ask(db, kind, to, told, tenant_id=tenant.id, expires_at=expires_at)
