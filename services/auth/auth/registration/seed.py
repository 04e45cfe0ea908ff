"""Seed a tenant and a user: `python -m auth users seed --email E --tenant-name N`. Safe to repeat.

An existing account is changed only with `--update`; a tenant never loses its last owner.
"""

import secrets
from dataclasses import dataclass
from uuid import uuid4

from servicekit.auth.permissions import Role
from servicekit.database import Database
from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from auth import audit, users
from auth.account import passwords as new_password
from auth.audit import Action
from auth.email_address import canonical_email
from auth.models import EndReason, Membership, PasswordHistory, Session, Status, Tenant, User
from auth.security import password_policy
from auth.security.passwords import Passwords
from auth.sessions import sessions
from auth.settings import Settings
from auth.tenants.lifecycle import OPERATOR
from auth.tenants.members import set_role

PASSWORD_BYTES = 18


class SeedRefused(Exception):
    """Nothing was changed; the message says why and what to do."""


@dataclass(frozen=True)
class Seed:
    """What to create."""

    email: str
    tenant_name: str
    tenant_slug: str
    role: Role
    display_name: str | None
    password: str | None
    is_update: bool


async def seed(settings: Settings, request: Seed, *, show_password: bool = False) -> list[str]:
    """Create or update in one transaction and return the lines to print.

    Raises SeedRefused, LastOwner, and as `password_policy.validate` does.
    """
    if request.password is not None:
        password_policy.validate(request.password, [request.email, request.tenant_name, request.display_name])
    passwords = Passwords(settings.auth_password_pepper.values, memory_kib=settings.auth_password_memory_kib)
    database = Database.from_settings(settings, "auth-seed", pool_size=1)
    try:
        async with database.begin() as db:
            tenant = await find_or_add_tenant(db, request)
            user, generated = await add_or_update(db, settings, passwords, tenant, request)
            await db.flush()
            lines = [f"tenant {tenant.id} {tenant.slug}", f"user {user.subject} {request.role}"]
            if not await has_owner(db, tenant):
                lines.append(f"note: {tenant.slug} has no owner yet; seed one with --role owner")
    finally:
        await database.close()
    return [*lines, *([f"password {generated}"] if generated and show_password else [])]


async def add_or_update(
    db: AsyncSession, settings: Settings, passwords: Passwords, tenant: Tenant, request: Seed
) -> tuple[User, str | None]:
    """Add or update the account; return it with the password, if that was generated."""
    user = await users.get_for_update(db, request.email)
    if user is not None and user.status is Status.PENDING:
        await replace_pending(db, user, request)
        user = None
    if user is None:
        return await add(db, passwords, tenant, request)
    await update(db, settings, passwords, tenant, user, request)
    return user, None


async def find_or_add_tenant(db: AsyncSession, request: Seed) -> Tenant:
    """Return the tenant with the slug, locked; add it if it is missing."""
    row = insert(Tenant).values(slug=request.tenant_slug, name=request.tenant_name)
    added = await db.scalar(row.on_conflict_do_nothing(index_elements=[Tenant.slug]).returning(Tenant.id))
    same_slug = select(Tenant).where(Tenant.slug == request.tenant_slug).with_for_update(key_share=True)
    tenant = (await db.scalars(same_slug)).one()
    if added is not None:
        users.publish_created(db, tenant)
    return tenant


async def has_owner(db: AsyncSession, tenant: Tenant) -> bool:
    """Return whether a tenant has an owner."""
    owners = select(Membership).where(Membership.tenant_id == tenant.id, Membership.role == Role.OWNER)
    return await db.scalar(owners.limit(1)) is not None


async def add(
    db: AsyncSession, passwords: Passwords, tenant: Tenant, request: Seed
) -> tuple[User, str | None]:
    """Add a confirmed account and its membership; return it with the password, if that was generated."""
    generated = None if request.password else secrets.token_urlsafe(PASSWORD_BYTES)
    user = User(
        id=uuid4(),
        email=request.email,
        email_key=canonical_email(request.email),
        display_name=request.display_name,
        password_hash=await passwords.hash(request.password or generated or ""),
        status=Status.ACTIVE,
    )
    users.mark_verified(user)
    db.add(user)
    await db.flush()
    db.add(Membership(tenant_id=tenant.id, user_id=user.id, role=request.role))
    audit.record(db, Action.USER_CREATED, tenant_id=tenant.id, actor=OPERATOR, subject=user.subject)
    return user, generated


async def replace_pending(db: AsyncSession, user: User, request: Seed) -> None:
    """Remove what was signed up with and never confirmed; its password may be a stranger's.

    Raises SeedRefused.
    """
    if not request.is_update:
        raise SeedRefused(
            f"{user.email} has signed up and not confirmed the address. Repeat the command with --update to"
            " replace that sign-up, the confirmation of the address and the password included."
        )
    await users.delete_unverified(db, user.email_key)


async def update(  # noqa: PLR0913, PLR0917  # what is changed, by what, to what
    db: AsyncSession, settings: Settings, passwords: Passwords, tenant: Tenant, user: User, request: Seed
) -> None:
    """Update an existing account if the command says so; raises SeedRefused or LastOwner."""
    membership = await db.get(Membership, (tenant.id, user.id))
    changes = await differences(passwords, user, membership, request)
    if changes and not request.is_update:
        named = ", the ".join(changes)
        raise SeedRefused(
            f"{user.email} exists already and was not changed. This would change the {named};"
            " repeat the command with --update to do that."
        )
    users.mark_verified(user)
    user.display_name = request.display_name or user.display_name
    await add_or_change_membership(db, tenant, user, membership, request.role)
    if "password" in changes and request.password is not None:
        await change_password(db, settings, user, await passwords.hash(request.password))


async def add_or_change_membership(
    db: AsyncSession, tenant: Tenant, user: User, membership: Membership | None, role: Role
) -> None:
    """Add a membership, or change its role; raises LastOwner."""
    if membership is None:
        db.add(Membership(tenant_id=tenant.id, user_id=user.id, role=role))
    elif membership.role is not role:
        await set_role(db, membership, role, actor=OPERATOR)


async def differences(
    passwords: Passwords, user: User, membership: Membership | None, request: Seed
) -> list[str]:
    """List what an update would change in an account."""
    is_same_password = request.password is None or await passwords.verify(
        request.password, user.password_hash
    )
    changes = {
        "role": membership is not None and membership.role is not request.role,
        "membership": membership is None,
        "password": not is_same_password,
        "name": request.display_name not in {None, user.display_name},
        "confirmation of the address": user.email_verified_at is None,
    }
    return [name for name, is_different in changes.items() if is_different]


async def change_password(db: AsyncSession, settings: Settings, user: User, password_hash: str) -> None:
    """Replace a password, keep the old hash in the history, and end all sessions."""
    if user.password_hash:
        db.add(PasswordHistory(user_id=user.id, password_hash=user.password_hash))
    user.password_hash = password_hash
    await db.flush()
    await new_password.trim_history(db, user, settings.auth_password_history_count)
    await sessions.end(db, EndReason.ACCOUNT, Session.user_id == user.id)
    audit.record(db, Action.PASSWORD_CHANGED, actor=OPERATOR, subject=user.subject)
