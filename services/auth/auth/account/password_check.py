"""Verify the password of an account that may be locked, and unlock it."""

from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncSession

from auth.errors import TooManySignIns
from auth.models import User
from auth.security.lockout import Attempt
from auth.services import AuthServices


async def verify(services: AuthServices, attempt: Attempt, user: User | None, password: str) -> bool:
    """Verify the password of an account; False for a locked or missing one.

    Takes the same time for all. Raises TooManySignIns; then the attempt is not counted.
    """
    password_hash = user.password_hash if user and attempt.may_try(user) else None
    try:
        # Between two transactions, so that nobody who waits for the hash keeps a connection from others.
        return await services.passwords.verify(password, password_hash)
    except TooManySignIns:
        await services.lockout.cancel(attempt)
        raise


async def record_failure(db: AsyncSession, user: User) -> None:
    """Count a wrong password; the count is reset by the next successful sign-in."""
    more = {"failed_sign_ins": User.failed_sign_ins + 1}
    await db.execute(update(User).where(User.id == user.id).values(more))


async def unlock(db: AsyncSession, services: AuthServices, user: User) -> None:
    """Unlock an account, as after a password reset."""
    await db.execute(update(User).where(User.id == user.id).values(failed_sign_ins=0))
    await services.lockout.reset(user.email_key)
