"""Signing in with a password."""

from enum import StrEnum
from functools import partial

from prometheus_client import Counter
from servicekit.errors import Unauthenticated
from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession

from auth import audit, client_info, emails, users
from auth.account import password_check
from auth.audit import Action
from auth.email_address import key_of
from auth.emails import Recipient
from auth.errors import InvalidCredentials
from auth.events import MailKind
from auth.mfa import challenge_flow
from auth.models import User
from auth.schemas import Credentials, SessionBundle
from auth.security.constant_time import refusals_at_least
from auth.security.lockout import Attempt
from auth.services import Parts
from auth.sessions import devices, sessions
from auth.sign_in import attack_alerts

SIGN_INS = Counter("auth_sign_ins_total", "Attempts to sign in.", ["result"])


class Refused(StrEnum):
    """Why somebody was not let in: for the audit log, never for the answer."""

    UNKNOWN_ACCOUNT = "unknown_account"
    WRONG_PASSWORD = "wrong_password"  # noqa: S105  # a word, not a password
    LOCKED = "locked"
    # With the right password: not confirmed, disabled, or of no tenant or not of this one.
    MAY_NOT_ENTER = "may_not_enter"


async def sign_in(parts: Parts, credentials: Credentials) -> SessionBundle:
    """Begin a session, or raise SecondFactorRequired; InvalidCredentials is the same for every reason.

    Also for an address that is not confirmed yet: told apart, it would show which addresses were free when
    somebody signed up with a password of their own. Mail can be asked for again without signing in. Every
    refusal leaves after the same time.
    """
    async with refusals_at_least(parts.settings.answer_floor):
        outcome = await attempted(parts, credentials)
    if isinstance(outcome, Unauthenticated):
        SIGN_INS.labels("challenged").inc()
        raise outcome
    SIGN_INS.labels("accepted").inc()
    return outcome


async def attempted(parts: Parts, credentials: Credentials) -> SessionBundle | Unauthenticated:
    """Let somebody in, or return what they have yet to show.

    Raises InvalidCredentials, or as `lockout` does.
    """
    password = credentials.password.get_secret_value()
    async with parts.database.begin() as db:
        user = await users.find(db, credentials.email)
        known_by = await devices.known_by(db, parts, user, credentials.device)
    attempt = await begin_attempt(parts, credentials, known_by)
    await judge(parts, attempt, user, password)
    assert user is not None  # noqa: S101  # or it would have been refused
    rehashed = await stronger_hash(parts, user, password)
    # It was no guess, whatever comes of it.
    await parts.lockout.passed(attempt)
    async with parts.database.begin() as db:
        outcome = await entered(db, parts, user, credentials, rehashed)
    if outcome is None:
        raise await refused(parts, attempt, user, Refused.MAY_NOT_ENTER)
    return outcome


async def entered(
    db: AsyncSession, parts: Parts, user: User, credentials: Credentials, rehashed: str | None
) -> SessionBundle | Unauthenticated | None:
    """Let somebody in whose password was right, or ask for more; None when they may not come in."""
    if not await still(db, user):
        return None
    if rehashed:
        await db.execute(update(User).where(User.id == user.id).values(password_hash=rehashed))
    standing = await sessions.entering(db, parts, user.id, credentials.tenant_id)
    if standing is None:
        return None
    return await challenge_flow.enter(db, parts, standing, ["pwd"], device=credentials.device)


async def still(db: AsyncSession, user: User) -> bool:
    """Tell whether an account has the password that was verified, and keep it from being replaced meanwhile.

    Else a session could begin with a password whose sessions have all just ended.
    """
    same = (User.id == user.id, User.password_hash == user.password_hash)
    found = await db.scalar(select(User.id).where(*same).with_for_update(key_share=True))
    return found is not None


async def begin_attempt(parts: Parts, credentials: Credentials, known_by: str | None) -> Attempt:
    """Count an attempt on the account, whether there is one or not."""
    from_where = client_info.current()
    address = from_where.digest if from_where else b""
    return await parts.lockout.begin(key_of(credentials.email), known_by, address)


async def judge(parts: Parts, attempt: Attempt, user: User | None, password: str) -> None:
    """Look at the password, unless the account is locked; raises InvalidCredentials or TooManySignIns."""
    matches = await password_check.try_password(parts, attempt, user, password)
    if user is None:
        raise await refused(parts, attempt, None, Refused.UNKNOWN_ACCOUNT)
    if not matches:
        why = Refused.WRONG_PASSWORD if attempt.may_try(user) else Refused.LOCKED
        raise await refused(parts, attempt, user, why)


async def refused(parts: Parts, attempt: Attempt, user: User | None, why: Refused) -> InvalidCredentials:
    """Count a refusal and write it down; who is kept out by it is told."""
    SIGN_INS.labels("refused").inc()
    is_guess = why is not Refused.MAY_NOT_ENTER
    blocks_address = is_guess and await parts.lockout.failed(attempt)
    from_where = client_info.current()
    address = from_where.address if from_where else "unknown"
    sightings = await parts.attacks.seen(attempt.account, address) if is_guess else []
    locks = user is not None and why is Refused.WRONG_PASSWORD and attempt.fills
    tells = locks and await parts.lockout.first_telling(attempt)
    async with parts.database.begin() as db:
        tenant = await users.first_tenant(db, user)
        tenant_id, subject = tenant.id if tenant else None, user.subject if user else None
        record = partial(audit.record, db, tenant_id=tenant_id, subject=subject)
        record(Action.LOGIN_FAIL, reason=why.value, known_device=attempt.is_known)
        if locks:
            record(Action.LOGIN_LOCK, known_device=attempt.is_known)
        if blocks_address:
            audit.record(db, Action.ADDRESS_BLOCKED)
        if user and why is Refused.WRONG_PASSWORD:
            await password_check.note_wrong_password(db, user)
        if user and tells:
            emails.send(db, parts, MailKind.SIGN_IN_BLOCKED, Recipient.of(user), tenant_id=tenant_id)
        await attack_alerts.sound(db, parts, sightings)
    return InvalidCredentials()


async def stronger_hash(parts: Parts, user: User, password: str) -> str | None:
    """Hash a password anew when the kept hash is of an older kind; now is the only time that we know it."""
    if user.password_hash and parts.passwords.is_outdated(user.password_hash):
        return await parts.passwords.hash(password)
    return None
