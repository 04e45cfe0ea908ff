"""Leaving for good: what auth knows of a person goes at once; the audit log keeps the opaque id alone."""

from collections.abc import Sequence
from uuid import UUID

from servicekit.events import publish
from servicekit.permissions import Role
from servicekit.tokens import Principal
from sqlalchemy import delete, func, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from auth import audit, mails, sessions
from auth.account.email_change import held
from auth.account.errors import SoleOwner
from auth.account.reauthentication import by, prove
from auth.errors import SessionEnded
from auth.events import MailKind, UserDeleted
from auth.models import EndReason, Membership, RefreshToken, Session, Tenant, User
from auth.parts import Parts


async def delete_account(parts: Parts, caller: Principal, password: str) -> None:
    """Delete the caller's account, and the tenants that nobody else is in.

    Raises SoleOwner, and as `prove` does.
    """
    proven = await prove(parts, caller, password)
    async with parts.database.begin() as db:
        user = await held(db, proven.id)
        if user is None:
            raise SessionEnded
        await end_sessions(db, user)
        left = await leave_tenants(db, user)
        mails.send(db, parts, MailKind.ACCOUNT_DELETED, mails.Recipient.of(user))
        event = UserDeleted(user_id=user.subject, tenant_ids=list(left))
        publish(db, event, tenant_id=None, subject=user.subject)
        audit.record(db, audit.Action.USER_DELETED, **by(caller))
        await db.execute(delete(User).where(User.id == user.id))


async def end_sessions(db: AsyncSession, user: User) -> None:
    """End a person's sessions, and remove what refreshes them."""
    theirs = Session.user_id == user.id
    await sessions.end(db, EndReason.ACCOUNT, theirs)
    # Before their sessions, as a refresh goes: else the two could wait for each other for ever.
    chains = RefreshToken.session_id.in_(select(Session.id).where(theirs))
    await db.execute(delete(RefreshToken).where(chains))


async def leave_tenants(db: AsyncSession, user: User) -> Sequence[UUID]:
    """Give the tenants that go with a person, having removed them; raises SoleOwner."""
    own = select(Membership.tenant_id).where(Membership.user_id == user.id)
    # In one order always, and locked: of the last two owners, one stays.
    await db.scalars(select(Tenant.id).where(Tenant.id.in_(own)).order_by(Tenant.id).with_for_update())
    if stranded := await without_another_owner(db, user):
        raise SoleOwner(tenant_ids=[str(tenant_id) for tenant_id in stranded])
    shared = select(Membership.tenant_id).where(Membership.user_id != user.id)
    alone = delete(Tenant).where(Tenant.id.in_(own), Tenant.id.not_in(shared))
    return (await db.scalars(alone.returning(Tenant.id))).all()


async def without_another_owner(db: AsyncSession, user: User) -> Sequence[UUID]:
    """List the tenants that a person is the only owner of, and not the only member."""
    mine, others = aliased(Membership), aliased(Membership)
    found = await db.scalars(
        select(mine.tenant_id)
        .join(others, others.tenant_id == mine.tenant_id)
        .where(mine.user_id == user.id, mine.role == Role.OWNER, others.user_id != user.id)
        .group_by(mine.tenant_id)
        .having(func.count().filter(others.role == Role.OWNER) == 0)
        .order_by(mine.tenant_id)
    )
    return found.all()
