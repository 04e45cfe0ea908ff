"""The first tenant and its owner: `python -m auth.seed --email E --tenant-name N`. Harmless to repeat."""

import argparse
import asyncio
import secrets
import sys
from uuid import uuid4

from servicekit.database import Database
from servicekit.errors import Unprocessable
from servicekit.permissions import Role
from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from auth import accounts, password_policy
from auth.addresses import key_of, written
from auth.models import Membership, Status, Tenant, User
from auth.passwords import Passwords
from auth.settings import Settings

PASSWORD_BYTES = 18


def main(arguments: list[str] | None = None) -> int:
    """Run the command; gives the exit code."""
    chosen = parser().parse_args(arguments)
    settings = Settings()
    given = sys.stdin.readline().rstrip("\r\n") if chosen.password_stdin else None
    if given is not None and not settings.is_development:
        try:
            password_policy.check(given, [chosen.email, chosen.tenant_name])
        except Unprocessable as refusal:
            sys.stderr.write(f"{refusal.detail}\n")
            return 1
    sys.stdout.write(asyncio.run(seed(settings, chosen, given)))
    return 0


def parser() -> argparse.ArgumentParser:
    """Say what the command takes."""
    top = argparse.ArgumentParser(
        prog="python -m auth.seed", description="Make a tenant and a confirmed account in it."
    )
    top.add_argument("--email", required=True, type=written)
    top.add_argument("--tenant-name", required=True)
    top.add_argument(
        "--tenant-slug", help="by default made of the name; a tenant with this slug is used as it is"
    )
    top.add_argument("--role", default=Role.OWNER, type=Role, choices=list(Role))
    top.add_argument("--display-name")
    password = top.add_mutually_exclusive_group()
    password.add_argument(
        "--password-stdin", action="store_true", help="read the password from the standard input"
    )
    password.add_argument(
        "--print-password", action="store_true", help="print the generated password, this once"
    )
    return top


async def seed(settings: Settings, chosen: argparse.Namespace, given: str | None) -> str:
    """Make what is missing, in one transaction; gives the lines to print."""
    database = Database(settings.database_url, name="auth-seed", pool_size=1)
    try:
        async with database.begin() as db:
            slug = chosen.tenant_slug or accounts.slug_of(chosen.tenant_name)
            tenant = await the_tenant(db, slug, chosen.tenant_name)
            user = await the_user(db, chosen.email, chosen.display_name)
            await let_in(db, tenant, user, chosen.role)
            generated = await set_password(settings, user, given)
    finally:
        await database.close()
    lines = [f"tenant {tenant.id} {tenant.slug}", f"user {user.subject} {chosen.role}"]
    shown = [f"password {generated}"] if generated and chosen.print_password else []
    return "\n".join([*lines, *shown, ""])


async def set_password(settings: Settings, user: User, given: str | None) -> str | None:
    """Set the given password; without one, give an account that has none a random one, and tell it."""
    passwords = Passwords(settings.auth_password_pepper, settings.auth_previous_password_pepper)
    if given is not None:
        if not await passwords.verify(given, user.password_hash):
            user.password_hash = await passwords.hash(given)
        return None
    if user.password_hash:
        return None
    generated = secrets.token_urlsafe(PASSWORD_BYTES)
    user.password_hash = await passwords.hash(generated)
    return generated


async def the_tenant(db: AsyncSession, slug: str, name: str) -> Tenant:
    """Give the tenant with a slug, made if need be."""
    await db.execute(
        insert(Tenant).values(slug=slug, name=name).on_conflict_do_nothing(index_elements=[Tenant.slug])
    )
    return (await db.scalars(select(Tenant).where(Tenant.slug == slug))).one()


async def the_user(db: AsyncSession, email: str, display_name: str | None) -> User:
    """Give the account of an address, made if need be, and confirmed."""
    fresh = User(
        id=uuid4(), email=email, email_key=key_of(email), display_name=display_name, status=Status.ACTIVE
    )
    await accounts.add_user(db, fresh)
    user = (await db.scalars(select(User).where(User.email_key == fresh.email_key))).one()
    accounts.confirm(user)
    return user


async def let_in(db: AsyncSession, tenant: Tenant, user: User, role: Role) -> None:
    """Give a person a role in a tenant, whatever it was before."""
    membership = insert(Membership).values(tenant_id=tenant.id, user_id=user.id, role=role)
    await db.execute(
        membership.on_conflict_do_update(
            index_elements=[Membership.tenant_id, Membership.user_id], set_={"role": membership.excluded.role}
        )
    )


if __name__ == "__main__":
    sys.exit(main())
