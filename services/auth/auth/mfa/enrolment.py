"""Adds, renames and removes factors. Each change is emailed to the account's owner, and audited."""

from uuid import UUID

from servicekit.auth.tokens import Principal
from sqlalchemy import ColumnElement, and_, delete, update
from sqlalchemy.ext.asyncio import AsyncSession

from auth import emails, users
from auth.audit import Action, record
from auth.events import EmailKind
from auth.factors import attempts, challenges, passkeys, recovery_codes, totp, verification
from auth.factors.errors import FactorNotFound, InvalidChallenge, InvalidPasskey, LastFactorRequired
from auth.factors.recovery_codes import HashedCode
from auth.factors.schemas import Factors, NewPasskey, PasskeyFactor, TotpFactor
from auth.models import Challenge, ChallengePurpose, EndReason, Passkey, RecoveryCode, Session, Totp, User
from auth.services import AuthServices
from auth.sessions import sessions, step_up

TOTP, PASSKEY = "totp", "passkey"


async def list_factors(db: AsyncSession, caller: Principal) -> Factors:
    """List all of one's factors that count."""
    user_id = users.user_id_of(caller)
    app = await totp.find(db, user_id)
    return Factors(
        totp=TotpFactor.model_validate(app) if app and app.confirmed_at else None,
        passkeys=[PasskeyFactor.model_validate(one) for one in await passkeys.list_for_user(db, user_id)],
        recovery_codes_left=await recovery_codes.count_unused(db, user_id),
    )


async def begin_totp(db: AsyncSession, services: AuthServices, caller: Principal) -> tuple[str, str]:
    """Return the seed and the address of a new authenticator app; raises TotpAlreadyExists."""
    return await totp.begin(db, services, await lock_user(db, caller))


async def confirm_totp(services: AuthServices, caller: Principal, code: str) -> list[str] | None:
    """Confirm the app; return the first recovery codes. Raises InvalidTotpCode or TotpAlreadyExists."""
    user_id = users.user_id_of(caller)
    async with services.database.begin() as db:
        checked = await totp.verify_first_code(db, services, user_id, code)
    prepared = await recovery_codes.prepare_first(services, user_id)
    async with services.database.begin() as db:
        user = await lock_user(db, caller)
        await totp.confirm(db, checked)
        return await finish_adding(db, services, user, caller.tenant_id, TOTP, prepared=prepared)


async def begin_passkey(
    db: AsyncSession, services: AuthServices, caller: Principal
) -> tuple[str, passkeys.Options]:
    """Issue a challenge, and return what a browser needs to create a passkey."""
    session = await step_up.current_session(db, caller)
    user = await db.get_one(User, session.user_id)
    challenge = challenges.issue(
        db, services, ChallengePurpose.PASSKEY_REGISTRATION, user_id=user.id, session_id=session.id
    )
    return challenge.token, await passkeys.registration_options(
        db, services, user, challenge.webauthn_challenge
    )


async def add_passkey(
    services: AuthServices, caller: Principal, request: NewPasskey
) -> tuple[Passkey, list[str] | None]:
    """Store a passkey; returns the first recovery codes. Raises InvalidPasskey or PasskeyAlreadyExists."""
    token = request.challenge.get_secret_value()
    # On its own: the challenge is used up also when what was made for it is refused.
    async with services.database.begin() as db:
        await consume_registration_challenge(db, services, caller, token)
    checked = passkeys.verify_registration(services, request, challenges.webauthn_challenge_of(token))
    prepared = await recovery_codes.prepare_first(services, users.user_id_of(caller))
    async with services.database.begin() as db:
        user = await lock_user(db, caller)
        passkey = await passkeys.register(db, user, checked)
        return passkey, await finish_adding(db, services, user, caller.tenant_id, PASSKEY, prepared=prepared)


async def consume_registration_challenge(
    db: AsyncSession, services: AuthServices, caller: Principal, token: str
) -> None:
    """Consume the challenge that a new passkey has signed, in this session; raises InvalidPasskey."""
    session = await step_up.current_session(db, caller)
    own, purpose = Challenge.session_id == session.id, ChallengePurpose.PASSKEY_REGISTRATION
    try:
        await challenges.consume(db, services, purpose, token, own)
    except InvalidChallenge:
        raise InvalidPasskey from None


async def renew_recovery_codes(services: AuthServices, caller: Principal) -> list[str]:
    """Return new recovery codes; raises RateLimited, or FactorNotFound without a second factor."""
    await services.rates.check_subject("recovery-codes", caller.subject)
    async with services.database.begin() as db:
        await lock_user_with_factor(db, caller)
    prepared = await recovery_codes.prepare(services)
    async with services.database.begin() as db:
        user = await lock_user_with_factor(db, caller)
        codes = await recovery_codes.renew(db, services, user, prepared)
        to = emails.Recipient.from_user(user)
        emails.request_email(db, services, EmailKind.RECOVERY_CODES_RENEWED, to, tenant_id=caller.tenant_id)
    return codes


async def rename_passkey(db: AsyncSession, caller: Principal, passkey_id: UUID, name: str) -> Passkey:
    """Rename a passkey; raises FactorNotFound."""
    passkey: Passkey | None = await db.scalar(
        update(Passkey).where(is_own_passkey(caller, passkey_id)).values(name=name).returning(Passkey)
    )
    if passkey is None:
        raise FactorNotFound
    record(db, Action.PASSKEY_RENAMED, actor=caller.subject, passkey=str(passkey_id))
    return passkey


async def remove_totp(db: AsyncSession, services: AuthServices, caller: Principal) -> None:
    """Remove the authenticator app; raises FactorNotFound or LastFactorRequired."""
    user = await lock_user(db, caller)
    mine = (Totp.user_id == user.id, Totp.confirmed_at.is_not(None))
    if not await db.scalar(delete(Totp).where(*mine).returning(Totp.id)):
        raise FactorNotFound
    await finish_removing(db, services, user, caller, TOTP)


async def remove_passkey(
    db: AsyncSession, services: AuthServices, caller: Principal, passkey_id: UUID
) -> None:
    """Remove a passkey; raises FactorNotFound or LastFactorRequired."""
    user = await lock_user(db, caller)
    if not await db.scalar(delete(Passkey).where(is_own_passkey(caller, passkey_id)).returning(Passkey.id)):
        raise FactorNotFound
    await finish_removing(db, services, user, caller, PASSKEY)


async def finish_adding(  # noqa: PLR0913  # whose factor, where, and what comes with the first
    db: AsyncSession,
    services: AuthServices,
    user: User,
    tenant_id: UUID | None,
    kind: str,
    *,
    prepared: list[HashedCode],
) -> list[str] | None:
    """Record and notify that a factor was added; return the recovery codes that come with the first."""
    record(db, Action.SECOND_FACTOR_ADDED, tenant_id=tenant_id, actor=user.subject, factor=kind)
    to = emails.Recipient.from_user(user)
    emails.request_email(db, services, EmailKind.SECOND_FACTOR_ADDED, to, tenant_id=tenant_id, factor=kind)
    return await recovery_codes.store_first(db, services, user, prepared)


async def finish_removing(
    db: AsyncSession, services: AuthServices, user: User, caller: Principal, kind: str
) -> None:
    """End the other sessions, delete recovery codes after the last factor, audit and notify.

    Raises LastFactorRequired.
    """
    if not await verification.has_any(db, user.id):
        if await verification.is_required_by_tenant(db, user.id):
            raise LastFactorRequired
        await db.execute(delete(RecoveryCode).where(RecoveryCode.user_id == user.id))
        await attempts.reset(db, user.id)
    others = (Session.user_id == user.id, Session.id != step_up.parse_session_id(caller.session_id))
    ended = await sessions.end(db, EndReason.ACCOUNT, *others)
    record(
        db,
        Action.SECOND_FACTOR_REMOVED,
        tenant_id=caller.tenant_id,
        actor=user.subject,
        factor=kind,
        sessions_ended=len(ended),
    )
    to = emails.Recipient.from_user(user)
    emails.request_email(
        db, services, EmailKind.SECOND_FACTOR_REMOVED, to, tenant_id=caller.tenant_id, factor=kind
    )


async def remove_all(db: AsyncSession, user: User) -> list[str]:
    """Remove all factors and challenges of a user; return the kinds. Sessions continue."""
    kinds = await verification.list_kinds(db, user.id)
    for table in (Totp, Passkey, RecoveryCode, Challenge):
        await db.execute(delete(table).where(table.user_id == user.id))
    await attempts.reset(db, user.id)
    return kinds


async def lock_user(db: AsyncSession, caller: Principal) -> User:
    """Lock and return the caller's account; raises FactorNotFound."""
    user = await users.lock_user(db, users.user_id_of(caller))
    if user is None:
        raise FactorNotFound
    return user


async def lock_user_with_factor(db: AsyncSession, caller: Principal) -> User:
    """Lock and return the caller's account if it has a second factor; raises FactorNotFound."""
    user = await lock_user(db, caller)
    if not await verification.has_any(db, user.id):
        raise FactorNotFound
    return user


def is_own_passkey(caller: Principal, passkey_id: UUID) -> ColumnElement[bool]:
    """Return the condition for a passkey of the user."""
    return and_(Passkey.id == passkey_id, Passkey.user_id == users.user_id_of(caller))
