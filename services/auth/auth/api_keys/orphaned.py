"""API keys whose holder may not hold keys any more: they stop or are kept, and the owners are notified."""

from collections.abc import Sequence
from itertools import groupby
from uuid import UUID

from servicekit.auth.permissions import Role
from sqlalchemy import ColumnElement, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from auth import audit
from auth.api_keys import entitlement
from auth.api_keys.keys import KIND, WORKING, client_id, prefix_of
from auth.audit import Action
from auth.emails import notify_owners
from auth.events import EmailKind
from auth.models import ApiKey, OrphanedApiKeys, Tenant, User
from auth.security import revocation
from auth.security.revocation import RevocationKind

MAX_LISTED = 20


async def report_orphaned(db: AsyncSession, tenant: Tenant, user_id: UUID, role: Role | None) -> None:
    """Stop or keep the keys of a user who has lost a role in a locked tenant; `role` is the new one."""
    if role is not None and role >= entitlement.MIN_ROLE:
        return
    keeps = tenant.orphaned_api_keys is OrphanedApiKeys.KEEP
    own, replaced = ApiKey.created_by == user_id, ApiKey.previous_created_by == user_id
    await close_streams(db, tenant.id, replaced if keeps else or_(own, replaced))
    working = select(ApiKey).where(ApiKey.tenant_id == tenant.id, own, *WORKING).order_by(ApiKey.created_at)
    if keys := (await db.scalars(working)).all():
        await notify_about(db, tenant, await db.get_one(User, user_id), keys, still_active=keeps)


async def notify_about(
    db: AsyncSession, tenant: Tenant, holder: User, keys: Sequence[ApiKey], *, still_active: bool
) -> None:
    """Notify the tenant's owners of a user's keys, and audit it."""
    kind = EmailKind.API_KEYS_STILL_ACTIVE if still_active else EmailKind.API_KEYS_STOPPED
    lines = "\n".join(line(key) for key in keys[:MAX_LISTED])
    name = holder.display_name or ""
    await notify_owners(db, kind, tenant, besides=holder.id, member=name, keys=lines, count=str(len(keys)))
    audit.record(
        db,
        Action.TOKENS_ORPHANED,
        tenant_id=tenant.id,
        subject=holder.subject,
        kind=KIND,
        kept=still_active,
        keys=[str(key.id) for key in keys],
    )


def line(key: ApiKey) -> str:
    """Describe a key in one line: how it begins, its scopes, its name."""
    return f"{prefix_of(key)} {','.join(key.scopes)} {key.name}"


async def close_streams(db: AsyncSession, tenant_id: UUID, which: ColumnElement[bool]) -> None:
    """Close, in every service, the streams that were opened with these keys."""
    query = select(ApiKey.id).where(ApiKey.tenant_id == tenant_id, *WORKING, which)
    await revocation.revoke(db, RevocationKind.CLIENT, *map(client_id, await db.scalars(query)))


async def stop_all(db: AsyncSession, tenant: Tenant) -> None:
    """Close the streams of all orphaned keys that a locked tenant has kept until now."""
    await close_streams(db, tenant.id, ~entitlement.is_entitled())


async def revoke_all_of(db: AsyncSession, user: User) -> None:
    """Revoke the keys of a user who closes their account, in every tenant, and notify the owners."""
    query = (
        select(ApiKey, Tenant)
        .join(Tenant, Tenant.id == ApiKey.tenant_id)
        .where(ApiKey.created_by == user.id, *WORKING)
        .order_by(ApiKey.tenant_id, ApiKey.created_at)
    )
    rows = [(key, tenant) for key, tenant in await db.execute(query)]
    for tenant, group in groupby(rows, key=lambda row: row[1]):
        await notify_about(db, tenant, user, [key for key, _ in group], still_active=False)
    await revocation.revoke(db, RevocationKind.CLIENT, *(client_id(key.id) for key, _ in rows))
    own = (ApiKey.created_by == user.id, ApiKey.revoked_at.is_(None))
    await db.execute(update(ApiKey).where(*own).values(revoked_at=func.now()))
    replaced = update(ApiKey).where(ApiKey.previous_created_by == user.id)
    await db.execute(
        replaced.values(previous_digest=None, previous_created_by=None, previous_expires_at=None)
    )
