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
from auth.email_address import canonical_email
from auth.emails import Recipient
from auth.errors import InvalidCredentials
from auth.events import EmailKind
from auth.mfa import challenge_flow
from auth.models import User
from auth.schemas import Credentials, TokenResponse
from auth.security.constant_time import minimum_error_duration
from auth.security.lockout import Attempt
from auth.services import AuthServices
from auth.sessions import devices, sessions
from auth.sign_in import attack_alerts

SIGN_INS = Counter("auth_sign_ins_total", "Attempts to sign in.", ["result"])


class FailureReason(StrEnum):
    """Why a sign-in failed: for the audit log, never for the response."""

    UNKNOWN_ACCOUNT = "unknown_account"
    WRONG_PASSWORD = "wrong_password"  # noqa: S105  # a word, not a password
    LOCKED = "locked"
    # With the right password: not confirmed, disabled, or of no tenant or not of this one.
    MAY_NOT_ENTER = "may_not_enter"


async def sign_in(services: AuthServices, credentials: Credentials) -> TokenResponse:
    """Begin a session, or raise SecondFactorRequired; InvalidCredentials is the same for every reason.

    Also for an address that is not confirmed yet: told apart, it would show which addresses were free when
    somebody signed up with a password of their own. Mail can be asked for again without signing in. Every
    refusal leaves after the same time.
    """
    async with minimum_error_duration(services.settings.answer_floor):
        outcome = await attempt_sign_in(services, credentials)
    if isinstance(outcome, Unauthenticated):
        SIGN_INS.labels("challenged").inc()
        raise outcome
    SIGN_INS.labels("accepted").inc()
    return outcome


async def attempt_sign_in(
    services: AuthServices, credentials: Credentials
) -> TokenResponse | Unauthenticated:
    """Verify the password and begin a session, or return the challenge that comes next.

    Raises InvalidCredentials, or as `lockout` does.
    """
    password = credentials.password.get_secret_value()
    async with services.database.begin() as db:
        user = await users.find(db, credentials.email)
        known_by = await devices.known_device_key(db, services, user, credentials.device)
    attempt = await start_attempt(services, credentials, known_by)
    await verify_password(services, attempt, user, password)
    assert user is not None  # noqa: S101  # or it would have been refused
    rehashed = await rehash_if_outdated(services, user, password)
    # It was no guess, whatever comes of it.
    await services.lockout.succeed(attempt)
    async with services.database.begin() as db:
        outcome = await complete(db, services, user, credentials, rehashed)
    if outcome is None:
        raise await reject(services, attempt, user, FailureReason.MAY_NOT_ENTER)
    return outcome


async def complete(
    db: AsyncSession, services: AuthServices, user: User, credentials: Credentials, rehashed: str | None
) -> TokenResponse | Unauthenticated | None:
    """Begin a session after the right password, or return a challenge; None without access."""
    if not await is_unchanged(db, user):
        return None
    if rehashed:
        await db.execute(update(User).where(User.id == user.id).values(password_hash=rehashed))
    access = await sessions.get_access(db, services, user.id, credentials.tenant_id)
    if access is None:
        return None
    return await challenge_flow.sign_in_or_challenge(db, services, access, ["pwd"], device=credentials.device)


async def is_unchanged(db: AsyncSession, user: User) -> bool:
    """Return whether an account still has the password that was verified, and lock it.

    Else a session could begin with a password whose sessions have all just ended.
    """
    same = (User.id == user.id, User.password_hash == user.password_hash)
    user_id = await db.scalar(select(User.id).where(*same).with_for_update(key_share=True))
    return user_id is not None


async def start_attempt(services: AuthServices, credentials: Credentials, known_by: str | None) -> Attempt:
    """Count an attempt on the account, whether there is one or not."""
    from_where = client_info.current_client()
    address = from_where.digest if from_where else b""
    return await services.lockout.start_attempt(canonical_email(credentials.email), known_by, address)


async def verify_password(services: AuthServices, attempt: Attempt, user: User | None, password: str) -> None:
    """Verify the password unless the account is locked; raises InvalidCredentials or TooManySignIns."""
    matches = await password_check.verify(services, attempt, user, password)
    if user is None:
        raise await reject(services, attempt, None, FailureReason.UNKNOWN_ACCOUNT)
    if not matches:
        why = FailureReason.WRONG_PASSWORD if attempt.may_try(user) else FailureReason.LOCKED
        raise await reject(services, attempt, user, why)


async def reject(
    services: AuthServices, attempt: Attempt, user: User | None, why: FailureReason
) -> InvalidCredentials:
    """Count and audit a refusal; the owner is emailed when it locks the account."""
    SIGN_INS.labels("refused").inc()
    is_guess = why is not FailureReason.MAY_NOT_ENTER
    blocks_address = is_guess and await services.lockout.fail(attempt)
    from_where = client_info.current_client()
    address = from_where.address if from_where else "unknown"
    detections = await services.attacks.record_failure(attempt.account, address) if is_guess else []
    locks = user is not None and why is FailureReason.WRONG_PASSWORD and attempt.would_lock
    notifies = locks and await services.lockout.should_notify_owner(attempt)
    async with services.database.begin() as db:
        tenant = await users.first_tenant(db, user)
        tenant_id, subject = tenant.id if tenant else None, user.subject if user else None
        record = partial(audit.record, db, tenant_id=tenant_id, subject=subject)
        record(Action.LOGIN_FAIL, reason=why.value, known_device=attempt.is_known)
        if locks:
            record(Action.LOGIN_LOCK, known_device=attempt.is_known)
        if blocks_address:
            audit.record(db, Action.ADDRESS_BLOCKED)
        if user and why is FailureReason.WRONG_PASSWORD:
            await password_check.record_failure(db, user)
        if user and notifies:
            emails.request_email(
                db, services, EmailKind.SIGN_IN_BLOCKED, Recipient.from_user(user), tenant_id=tenant_id
            )
        await attack_alerts.alert_operators(db, services, detections)
    return InvalidCredentials()


async def rehash_if_outdated(services: AuthServices, user: User, password: str) -> str | None:
    """Rehash a password whose stored hash has older parameters, while the password is known."""
    if user.password_hash and services.passwords.is_outdated(user.password_hash):
        return await services.passwords.hash(password)
    return None
