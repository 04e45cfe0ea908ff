"""Delete an account: it is closed at once, and erased after the grace period.

All data of the user is erased; the audit log keeps only the opaque id.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from servicekit.auth.permissions import Role
from servicekit.auth.tokens import Principal
from servicekit.events.outbox import publish
from sqlalchemy import and_, delete, func, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from auth import audit, emails
from auth.account.email_change import lock_user
from auth.account.errors import SoleOwner
from auth.account.reauthentication import audit_actor, verify_password
from auth.api_keys import orphaned
from auth.errors import InvalidEmailToken, SessionEnded
from auth.events import EmailKind, UserDeleted
from auth.models import (
    EndReason,
    Invite,
    Membership,
    Purpose,
    RefreshToken,
    Session,
    SignupRequest,
    Status,
    Tenant,
    User,
)
from auth.security.revocation import RevocationKind, revoke
from auth.services import AuthServices
from auth.sessions import sessions


async def delete_account(services: AuthServices, caller: Principal, password: str) -> None:
    """Close the caller's account, and erase it after AUTH_ACCOUNT_DELETION_GRACE_DAYS, or at once.

    Raises SoleOwner, and as `reauthentication.verify_password` does.
    """
    proven = await verify_password(services, caller, password)
    async with services.database.begin() as db:
        user = await lock_user(db, proven.id)
        if user is None:
            raise SessionEnded
        await end_sessions(db, user)
        if stranded := await list_solely_owned(db, user):
            raise SoleOwner(tenant_ids=[str(tenant_id) for tenant_id in stranded])
        await orphaned.revoke_all_of(db, user)
        if services.settings.auth_account_deletion_grace_days:
            await deactivate(db, services, user, **audit_actor(caller))
        else:
            await erase(db, user, **audit_actor(caller))


async def deactivate(db: AsyncSession, services: AuthServices, user: User, **who: Any) -> None:
    """Deactivate an account: revoke all access and send the email that can restore it."""
    await services.email_tokens.invalidate(db, user)
    user.status, user.new_email = Status.CLOSING, None
    user.erase_after = datetime.now(UTC) + timedelta(days=services.settings.auth_account_deletion_grace_days)
    await send_restore_email(db, services, user)
    audit.record(db, audit.Action.USER_CLOSED, **who)


async def send_restore_email(db: AsyncSession, services: AuthServices, user: User) -> None:
    """Request the email with which a locked, closed account can be restored."""
    issued = await services.email_tokens.issue(db, user, Purpose.ACCOUNT_RESTORE)
    emails.request_email(
        db, services, EmailKind.ACCOUNT_CLOSING, emails.Recipient.from_user(user), issued=issued
    )


async def restore(services: AuthServices, token: str) -> None:
    """Restore a closed account with the token of the email; raises InvalidEmailToken.

    A token that has restored the account changes nothing more.
    """
    async with services.database.begin() as db:
        used = await services.email_tokens.redeem(db, token, Purpose.ACCOUNT_RESTORE)
        if used is None:
            if await services.email_tokens.redeemed_by(db, token, Purpose.ACCOUNT_RESTORE):
                return
            raise InvalidEmailToken
        closed = select(User).where(User.id == used[0], User.status == Status.CLOSING)
        user = await db.scalar(closed.with_for_update())
        if user is None:
            raise InvalidEmailToken
        user.status, user.erase_after = Status.ACTIVE, None
        emails.request_email(db, services, EmailKind.ACCOUNT_RESTORED, emails.Recipient.from_user(user))
        audit.record(db, audit.Action.USER_RESTORED, actor=user.subject)


async def erase_next(db: AsyncSession) -> bool:
    """Erase one account whose grace period is over; return whether there was one."""
    due = select(User).where(User.status == Status.CLOSING, User.erase_after < func.now())
    user = await db.scalar(due.limit(1).with_for_update(skip_locked=True))
    if user is None:
        return False
    await end_sessions(db, user)
    await erase(db, user, actor=user.subject)
    return True


async def erase(db: AsyncSession, user: User, **who: Any) -> None:
    """Delete all data of a user, and publish the deletion to the other services."""
    left = await leave_tenants(db, user)
    await revoke(db, RevocationKind.TENANT, *map(str, left))
    emails.request_goodbye_email(db, emails.Recipient.from_user(user))
    publish(
        db, UserDeleted(user_id=user.subject, tenant_ids=list(left)), tenant_id=None, subject=user.subject
    )
    audit.record(db, audit.Action.USER_DELETED, **who)
    # What others have written down under their address.
    await db.execute(delete(Invite).where(Invite.email_key == user.email_key))
    await db.execute(delete(SignupRequest).where(SignupRequest.email_key == user.email_key))
    await db.execute(delete(User).where(User.id == user.id))


async def end_sessions(db: AsyncSession, user: User) -> None:
    """End a user's sessions, and delete their refresh tokens."""
    theirs = Session.user_id == user.id
    # Tokens before their sessions, as a refresh goes: else the two could wait for each other for ever.
    chains = RefreshToken.session_id.in_(select(Session.id).where(theirs))
    await db.execute(delete(RefreshToken).where(chains))
    await sessions.end(db, EndReason.ACCOUNT, theirs)


async def leave_tenants(db: AsyncSession, user: User) -> Sequence[UUID]:
    """Remove a user from all tenants; delete those without another member, and return them."""
    await lock_tenants(db, user)
    own = select(Membership.tenant_id).where(Membership.user_id == user.id)
    shared = select(Membership.tenant_id).where(Membership.user_id != user.id)
    alone = delete(Tenant).where(Tenant.id.in_(own), Tenant.id.not_in(shared))
    return (await db.scalars(alone.returning(Tenant.id))).all()


async def lock_tenants(db: AsyncSession, user: User) -> None:
    """Lock a user's tenants, so that two last owners cannot leave at the same time."""
    own = select(Membership.tenant_id).where(Membership.user_id == user.id)
    # In one order always.
    await db.scalars(select(Tenant.id).where(Tenant.id.in_(own)).order_by(Tenant.id).with_for_update())


async def list_solely_owned(db: AsyncSession, user: User) -> Sequence[UUID]:
    """Lock a user's tenants, and list those with other members but no other owner.

    Owners whose account is not active do not count.
    """
    await lock_tenants(db, user)
    mine, others, person = aliased(Membership), aliased(Membership), aliased(User)
    is_owner = and_(others.role == Role.OWNER, person.status == Status.ACTIVE)
    tenants = await db.scalars(
        select(mine.tenant_id)
        .join(others, others.tenant_id == mine.tenant_id)
        .join(person, person.id == others.user_id)
        .where(mine.user_id == user.id, mine.role == Role.OWNER, others.user_id != user.id)
        .group_by(mine.tenant_id)
        .having(func.count().filter(is_owner) == 0)
        .order_by(mine.tenant_id)
    )
    return tenants.all()
