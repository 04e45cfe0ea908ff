"""Signing in with a password."""

from prometheus_client import Counter
from servicekit.errors import Unauthenticated
from sqlalchemy import update
from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession

from auth import accounts, sessions
from auth.errors import InvalidCredentials
from auth.factors import second_factor
from auth.models import User
from auth.parts import Parts
from auth.schemas import Credentials, SessionBundle

SIGN_INS = Counter("auth_sign_ins_total", "Attempts to sign in.", ["result"])


async def sign_in(parts: Parts, credentials: Credentials) -> SessionBundle:
    """Begin a session, or raise SecondFactorRequired; InvalidCredentials is the same for every reason.

    Also for an address that is not confirmed yet: told apart, it would show which addresses were free when
    somebody signed up with a password of their own. Mail can be asked for again without signing in.
    """
    password = credentials.password.get_secret_value()
    async with parts.database.begin() as db:
        user = await accounts.find(db, credentials.email)
    # Between two transactions, so that nobody who waits for the hash keeps a connection from others.
    if not await parts.passwords.verify(password, user.password_hash if user else None) or user is None:
        raise refused()
    rehashed = await stronger_hash(parts, user, password)
    async with parts.database.begin() as db:
        if not await still(db, user):
            raise refused()
        if rehashed:
            await db.execute(update(User).where(User.id == user.id).values(password_hash=rehashed))
        standing = await sessions.entering(db, parts, user.id, credentials.tenant_id)
        if standing is None:
            raise refused()
        outcome = await second_factor.enter(db, parts, standing, ["pwd"])
    if isinstance(outcome, Unauthenticated):
        SIGN_INS.labels("challenged").inc()
        raise outcome
    SIGN_INS.labels("accepted").inc()
    return outcome


async def still(db: AsyncSession, user: User) -> bool:
    """Tell whether an account has the password that was verified, and keep it from being replaced meanwhile.

    Else a session could begin with a password whose sessions have all just ended.
    """
    same = (User.id == user.id, User.password_hash == user.password_hash)
    found = await db.scalar(select(User.id).where(*same).with_for_update(key_share=True))
    return found is not None


def refused() -> InvalidCredentials:
    """Count a refusal."""
    SIGN_INS.labels("refused").inc()
    return InvalidCredentials()


async def stronger_hash(parts: Parts, user: User, password: str) -> str | None:
    """Hash a password anew when the kept hash is of an older kind; now is the only time that we know it."""
    if user.password_hash and parts.passwords.is_outdated(user.password_hash):
        return await parts.passwords.hash(password)
    return None
