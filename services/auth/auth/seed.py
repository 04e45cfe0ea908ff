"""Create a tenant and somebody in it: `python -m auth.seed --email E --tenant-name N`. Harmless to repeat.

An existing account is changed only with `--update`; a tenant never loses its last owner.
"""

import argparse
import asyncio
import secrets
import sys
from dataclasses import dataclass
from uuid import uuid4

from servicekit.auth.permissions import Role
from servicekit.database import Database
from servicekit.errors import ServiceError
from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from auth import audit, users
from auth.account import passwords as new_password
from auth.audit import Action
from auth.email_address import canonical_email, normalize
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
    """What the command is to create, in the rows' words."""

    email: str
    tenant_name: str
    tenant_slug: str
    role: Role
    display_name: str | None
    password: str | None
    is_update: bool


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    options = parser().parse_args(arguments)
    password = sys.stdin.readline().rstrip("\r\n") if options.password_stdin else None
    wanted = Seed(
        email=options.email,
        tenant_name=options.tenant_name,
        tenant_slug=options.tenant_slug or users.slugify(options.tenant_name),
        role=options.role,
        display_name=options.display_name,
        password=password,
        is_update=options.update,
    )
    try:
        lines = asyncio.run(seed(Settings.load(), wanted, show_password=options.print_password))
    except (ServiceError, SeedRefused) as refusal:
        sys.stderr.write(f"{refusal}\n")
        return 1
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    return 0


def parser() -> argparse.ArgumentParser:
    """Return what the command takes."""
    top = argparse.ArgumentParser(
        prog="python -m auth.seed", description="Make a tenant and a confirmed account in it."
    )
    top.add_argument("--email", required=True, type=normalize)
    top.add_argument("--tenant-name", required=True)
    top.add_argument(
        "--tenant-slug", help="by default made of the name; a tenant with this slug is used as it is"
    )
    top.add_argument("--role", default=Role.MEMBER, type=Role, choices=list(Role))
    top.add_argument("--display-name")
    top.add_argument(
        "--update", action="store_true", help="change an account that exists: its role, password and name"
    )
    password = top.add_mutually_exclusive_group()
    password.add_argument(
        "--password-stdin", action="store_true", help="read the password from the standard input"
    )
    password.add_argument(
        "--print-password", action="store_true", help="print the generated password, this once"
    )
    return top


async def seed(settings: Settings, wanted: Seed, *, show_password: bool = False) -> list[str]:
    """Create or update in one transaction and return the lines to print.

    Raises SeedRefused, LastOwner, and as `password_policy.validate` does.
    """
    if wanted.password is not None:
        password_policy.validate(wanted.password, [wanted.email, wanted.tenant_name, wanted.display_name])
    passwords = Passwords(settings.auth_password_pepper, settings.auth_previous_password_pepper)
    database = Database.from_settings(settings, "auth-seed", pool_size=1)
    try:
        async with database.begin() as db:
            tenant = await find_or_add_tenant(db, wanted)
            user = await users.get_for_update(db, wanted.email)
            if user is not None and user.status is Status.PENDING:
                await replace_pending(db, user, wanted)
                user = None
            if user is None:
                user, generated = await add(db, passwords, tenant, wanted)
            else:
                generated = None
                await update(db, settings, passwords, tenant, user, wanted)
            await db.flush()
            lines = [f"tenant {tenant.id} {tenant.slug}", f"user {user.subject} {wanted.role}"]
            if not await has_owner(db, tenant):
                lines.append(f"note: {tenant.slug} has no owner yet; seed one with --role owner")
    finally:
        await database.close()
    return [*lines, *([f"password {generated}"] if generated and show_password else [])]


async def find_or_add_tenant(db: AsyncSession, wanted: Seed) -> Tenant:
    """Return the tenant with the slug, locked; add it if it is missing."""
    row = insert(Tenant).values(slug=wanted.tenant_slug, name=wanted.tenant_name)
    await db.execute(row.on_conflict_do_nothing(index_elements=[Tenant.slug]))
    same_slug = select(Tenant).where(Tenant.slug == wanted.tenant_slug).with_for_update(key_share=True)
    return (await db.scalars(same_slug)).one()


async def has_owner(db: AsyncSession, tenant: Tenant) -> bool:
    """Return whether a tenant has an owner."""
    owners = select(Membership).where(Membership.tenant_id == tenant.id, Membership.role == Role.OWNER)
    return await db.scalar(owners.limit(1)) is not None


async def add(
    db: AsyncSession, passwords: Passwords, tenant: Tenant, wanted: Seed
) -> tuple[User, str | None]:
    """Add a confirmed account and its membership; return it with the password, if that was generated."""
    generated = None if wanted.password else secrets.token_urlsafe(PASSWORD_BYTES)
    user = User(
        id=uuid4(),
        email=wanted.email,
        email_key=canonical_email(wanted.email),
        display_name=wanted.display_name,
        password_hash=await passwords.hash(wanted.password or generated or ""),
        status=Status.ACTIVE,
    )
    users.mark_verified(user)
    db.add(user)
    await db.flush()
    db.add(Membership(tenant_id=tenant.id, user_id=user.id, role=wanted.role))
    audit.record(db, Action.USER_CREATED, tenant_id=tenant.id, actor=OPERATOR, subject=user.subject)
    return user, generated


async def replace_pending(db: AsyncSession, user: User, wanted: Seed) -> None:
    """Remove what was signed up with and never confirmed; its password may be a stranger's.

    Raises SeedRefused.
    """
    if not wanted.is_update:
        raise SeedRefused(
            f"{user.email} has signed up and not confirmed the address. Repeat the command with --update to"
            " replace that sign-up, the confirmation of the address and the password included."
        )
    await users.delete_unverified(db, user.email_key)


async def update(  # noqa: PLR0913, PLR0917  # what is changed, by what, to what
    db: AsyncSession, settings: Settings, passwords: Passwords, tenant: Tenant, user: User, wanted: Seed
) -> None:
    """Bring an existing account to what is wanted, if that was asked for; raises SeedRefused or LastOwner."""
    membership = await db.get(Membership, (tenant.id, user.id))
    changes = await differences(passwords, user, membership, wanted)
    if changes and not wanted.is_update:
        named = ", the ".join(changes)
        raise SeedRefused(
            f"{user.email} exists already and was not changed. This would change the {named};"
            " repeat the command with --update to do that."
        )
    users.mark_verified(user)
    user.display_name = wanted.display_name or user.display_name
    if membership is None:
        db.add(Membership(tenant_id=tenant.id, user_id=user.id, role=wanted.role))
    elif membership.role is not wanted.role:
        await set_role(db, membership, wanted.role, actor=OPERATOR)
    if "password" in changes and wanted.password is not None:
        await change_password(db, settings, user, await passwords.hash(wanted.password))


async def differences(
    passwords: Passwords, user: User, membership: Membership | None, wanted: Seed
) -> list[str]:
    """Name what an update would change in an account."""
    is_same_password = wanted.password is None or await passwords.verify(wanted.password, user.password_hash)
    changes = {
        "role": membership is not None and membership.role is not wanted.role,
        "membership": membership is None,
        "password": not is_same_password,
        "name": wanted.display_name not in {None, user.display_name},
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


if __name__ == "__main__":
    sys.exit(main())
