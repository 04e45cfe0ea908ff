"""Accounts: people, the tenants that they belong to, and what they are there."""

import re
import secrets
import unicodedata
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from servicekit.auth.permissions import Role
from servicekit.auth.tokens import Principal
from servicekit.events.outbox import publish
from sqlalchemy import ColumnElement, Select, delete, func, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from auth.email_address import canonical_email
from auth.errors import PeopleOnly, SessionEnded
from auth.events import TenantCreated
from auth.models import Membership, Status, Tenant, TenantStatus, User

MAX_SLUG = 48
SLUG_ATTEMPTS = 5


@dataclass(frozen=True)
class Access:
    """A person who may come in, the tenant, and what they are in it: as it is now."""

    user: User
    tenant: Tenant
    role: Role

    @property
    def is_suspended(self) -> bool:
        """Whether all that they may do is to reactivate the tenant."""
        return self.tenant.status is TenantStatus.SUSPENDED


async def find(db: AsyncSession, email: str) -> User | None:
    """Return the account of an address, or one of its pending registrations where it has none."""
    user: User | None = await db.scalar(select_by_email(canonical_email(email)).limit(1))
    return user


def select_by_email(email_key: str) -> Select[User]:
    """Select what an address has: its account first, then pending registrations, the oldest first."""
    is_pending = User.status == Status.PENDING
    return select(User).where(User.email_key == email_key).order_by(is_pending, User.created_at, User.id)


async def get_for_update(db: AsyncSession, email: str) -> User | None:
    """Lock and return the account of an address."""
    await lock_email(db, canonical_email(email))
    user: User | None = await db.scalar(select_by_email(canonical_email(email)).limit(1).with_for_update())
    return user


async def lock_email(db: AsyncSession, email_key: str) -> None:
    """Lock an address until the transaction ends: nobody else registers or confirms it meanwhile."""
    await db.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(f"address {email_key}", 0))))


async def lock_user(db: AsyncSession, user_id: UUID) -> User | None:
    """Lock and return an account; always before its other rows, so that transactions cannot deadlock."""
    user: User | None = await db.scalar(
        select(User).where(User.id == user_id).with_for_update(key_share=True)
    )
    return user


async def get_access(
    db: AsyncSession, user_id: UUID, tenant_id: UUID | None, *, verified_only: bool
) -> Access | None:
    """Return a user's access to a tenant (by default the one joined first), or None."""
    memberships = select_access(user_id, tenant_id, verified_only=verified_only)
    row = (await db.execute(memberships.where(Tenant.status == TenantStatus.ACTIVE))).one_or_none()
    return Access(*row) if row else None


async def get_suspended_owner_access(
    db: AsyncSession, user_id: UUID, tenant_id: UUID | None, *, verified_only: bool
) -> Access | None:
    """Return the suspended tenant that a person owns, if they belong to no active one; None otherwise."""
    active = select(Membership.user_id).join(Tenant).where(Membership.user_id == user_id)
    memberships = select_access(user_id, tenant_id, verified_only=verified_only).where(
        Tenant.status == TenantStatus.SUSPENDED,
        Membership.role == Role.OWNER,
        ~active.where(Tenant.status == TenantStatus.ACTIVE).correlate(None).exists(),
    )
    row = (await db.execute(memberships)).one_or_none()
    return Access(*row) if row else None


def select_access(
    user_id: UUID, tenant_id: UUID | None, *, verified_only: bool
) -> Select[User, Tenant, Role]:
    """Select what a person in use is in a tenant, or in the one joined first of those that are asked for."""
    memberships = (
        select(User, Tenant, Membership.role)
        .join(Membership, Membership.user_id == User.id)
        .join(Tenant, Tenant.id == Membership.tenant_id)
        .where(User.id == user_id, User.status == Status.ACTIVE)
        .order_by(Membership.created_at, Tenant.id)
        .limit(1)
    )
    if tenant_id:
        memberships = memberships.where(Tenant.id == tenant_id)
    if verified_only:
        memberships = memberships.where(User.email_verified_at.is_not(None))
    return memberships


async def first_tenant(db: AsyncSession, user: User | None) -> Tenant | None:
    """Return the tenant that a person has joined first; nobody takes the same time."""
    joined = select(Tenant).join(Membership).where(Membership.user_id == (user.id if user else UUID(int=0)))
    first: Tenant | None = await db.scalar(joined.order_by(Membership.created_at, Tenant.id).limit(1))
    return first


async def add_user(db: AsyncSession, user: User) -> bool:
    """Add an account or a pending registration, unless the address has an account; returns whether it did."""
    # Not an error but nothing when the address is taken: Postgres' error would quote it into the logs.
    added = await db.scalar(
        insert(User)
        .values(
            id=user.id,
            email=user.email,
            email_key=user.email_key,
            display_name=user.display_name,
            password_hash=user.password_hash,
            status=user.status,
            email_verified_at=user.email_verified_at,
            terms_accepted_at=user.terms_accepted_at,
        )
        .on_conflict_do_nothing(index_elements=[User.email_key], index_where=text("status <> 'pending'"))
        .returning(User.id)
    )
    return added is not None


async def add_tenant(db: AsyncSession, name: str) -> Tenant:
    """Add a tenant with a readable slug of its own."""
    base_slug = slugify(name)
    slugs = [base_slug, *(f"{base_slug}-{secrets.token_hex(3)}" for _ in range(SLUG_ATTEMPTS))]
    for slug in slugs:
        added: Tenant | None = await db.scalar(
            insert(Tenant)
            .values(name=name, slug=slug)
            .on_conflict_do_nothing(index_elements=[Tenant.slug])
            .returning(Tenant)
        )
        if added is not None:
            return added
    raise RuntimeError(f"{len(slugs)} slugs were all taken")


async def add_owned(db: AsyncSession, user_id: UUID, name: str) -> Tenant:
    """Add a tenant, and its owner, and publish that there is one."""
    tenant = await add_tenant(db, name)
    db.add(Membership(tenant_id=tenant.id, user_id=user_id, role=Role.OWNER))
    await db.flush()
    publish_created(db, tenant)
    return tenant


def publish_created(db: AsyncSession, tenant: Tenant) -> None:
    """Publish that a tenant was created."""
    publish(db, TenantCreated(tenant_id=tenant.id), tenant_id=tenant.id, subject=f"tenant:{tenant.id}")


async def ensure_personal_tenant(db: AsyncSession, user_id: UUID) -> None:
    """Create a personal tenant for a user who belongs to none.

    Who was removed from their last one can still come in, and accept an invite into another.
    """
    user = await db.scalar(
        select(User).where(User.id == user_id, User.status == Status.ACTIVE).with_for_update()
    )
    remaining = (
        select(Membership.tenant_id)
        .join(Tenant)
        .where(Membership.user_id == user_id, Tenant.status != TenantStatus.DELETED)
    )
    if user is not None and await db.scalar(remaining.limit(1)) is None:
        await add_owned(db, user.id, user.display_name or user.email.partition("@")[0])


def slugify(name: str) -> str:
    """Return a URL slug for a name."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:MAX_SLUG].strip("-") or "tenant"


async def delete_unverified(db: AsyncSession, email_key: str, *which: ColumnElement[bool]) -> None:
    """Remove registrations of an address that nobody confirmed, and the tenants that they were to own."""
    pending = select(User.id).where(User.email_key == email_key, User.status == Status.PENDING, *which)
    ids = (await db.scalars(pending)).all()
    owned = select(Membership.tenant_id).where(Membership.user_id.in_(ids), Membership.role == Role.OWNER)
    shared = select(Membership.tenant_id).where(Membership.user_id.not_in(ids))
    await db.execute(delete(Tenant).where(Tenant.id.in_(owned), Tenant.id.not_in(shared)))
    await db.execute(delete(User).where(User.id.in_(ids)))


def user_id_of(caller: Principal) -> UUID:
    """Return the account that a caller is; raises PeopleOnly."""
    if caller.is_service:
        raise PeopleOnly
    return UUID(caller.subject.removeprefix("user:"))


async def current_user(db: AsyncSession, caller: Principal) -> User:
    """Return the account of a caller; raises PeopleOnly, or SessionEnded when it is not in use any more."""
    active = select(User).where(User.id == user_id_of(caller), User.status == Status.ACTIVE)
    user: User | None = await db.scalar(active)
    if user is None:
        raise SessionEnded
    return user


def mark_verified(user: User) -> None:
    """Mark an email address as verified, and activate a pending account."""
    user.email_verified_at = user.email_verified_at or datetime.now(UTC)
    if user.status is Status.PENDING:
        user.status = Status.ACTIVE
