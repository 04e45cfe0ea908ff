"""Ends the sessions of a user, of a tenant, or of everybody, for operators.

Every service refuses their access tokens within five seconds, and open streams close. API keys and service
accounts are not sessions and go on working.
"""

from uuid import UUID

from servicekit.auth.tokens import Principal
from sqlalchemy import ColumnElement, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from auth import audit
from auth.access.roles import authorize, find_tenant
from auth.access.sensitive_actions import SensitiveAction
from auth.audit import Action
from auth.email_address import canonical_email
from auth.errors import UserNotFound
from auth.models import EndReason, Session, Tenant, User
from auth.security.revocation import revoke_every_session
from auth.services import AuthServices
from auth.sessions import sessions
from auth.sessions.schemas import SessionsToEnd


async def end(db: AsyncSession, services: AuthServices, caller: Principal, target: SessionsToEnd) -> int:
    """End the sessions that an operator names; returns how many.

    Raises RoleTooLow, UserNotFound or TenantNotFound.
    """
    await authorize(db, caller, SensitiveAction.END_ANY_SESSIONS)
    if target.user_id:
        return await end_for_user(db, await find_user(db, str(target.user_id)), actor=caller.subject)
    if target.tenant_id:
        return await end_for_tenant(db, await find_tenant(db, str(target.tenant_id)), actor=caller.subject)
    return await end_every_session(db, services.settings.auth_operator_tenant_id, actor=caller.subject)


async def end_for_user(db: AsyncSession, user: User, *, actor: str) -> int:
    """End all sessions of a locked person, in every tenant; returns how many."""
    ended = await end_all(db, Session.user_id == user.id)
    audit.record(db, Action.SESSIONS_ENDED, actor=actor, subject=user.subject, scope="user", ended=ended)
    return ended


async def end_for_tenant(db: AsyncSession, tenant: Tenant, *, actor: str) -> int:
    """End all sessions in a tenant; returns how many."""
    ended = await end_all(db, Session.tenant_id == tenant.id)
    audit.record(db, Action.SESSIONS_ENDED, tenant_id=tenant.id, actor=actor, scope="tenant", ended=ended)
    return ended


async def end_every_session(db: AsyncSession, operators: UUID | None, *, actor: str) -> int:
    """End all sessions there are, the operator's own among them; returns how many."""
    ended = await db.scalar(select(func.count()).select_from(Session).where(sessions.IS_LIVE)) or 0
    await revoke_every_session(db)
    audit.record(db, Action.SESSIONS_ENDED, tenant_id=operators, actor=actor, scope="everybody", ended=ended)
    return ended


async def end_all(db: AsyncSession, which: ColumnElement[bool]) -> int:
    """End sessions until none is left: one that changes its id meanwhile is found in the next round."""
    total = 0
    while ended := len(await sessions.end(db, EndReason.OPERATOR, which)):
        total += ended
    return total


async def find_user(db: AsyncSession, name: str) -> User:
    """Lock a person by id or address; raises UserNotFound."""
    by = User.email_key == parse_email(name) if "@" in name else User.id == parse_user_id(name)
    user: User | None = await db.scalar(select(User).where(by).with_for_update(key_share=True))
    if user is None:
        raise UserNotFound
    return user


def parse_email(address: str) -> str:
    """Return the normal form of an address; raises UserNotFound for what is none."""
    try:
        return canonical_email(address)
    except ValueError:
        raise UserNotFound from None


def parse_user_id(text: str) -> UUID:
    """Read an id, with or without `user:` in front; raises UserNotFound."""
    try:
        return UUID(text.removeprefix("user:"))
    except ValueError:
        raise UserNotFound from None
