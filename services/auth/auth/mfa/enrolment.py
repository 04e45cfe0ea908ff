"""Adding, renaming and removing factors. Each is told to the account's owner, and written down."""

from uuid import UUID

from servicekit.auth.tokens import Principal
from sqlalchemy import ColumnElement, and_, delete, update
from sqlalchemy.ext.asyncio import AsyncSession

from auth import emails, users
from auth.audit import Action, record
from auth.events import MailKind
from auth.factors import attempts, challenges, passkeys, recovery_codes, totp, verification
from auth.factors.errors import ChallengeInvalid, FactorUnknown, LastFactorRequired, PasskeyNotRegistered
from auth.factors.recovery_codes import Prepared
from auth.factors.schemas import Factors, NewPasskey, PasskeyFactor, TotpFactor
from auth.models import Aim, Challenge, EndReason, Passkey, RecoveryCode, Session, Totp, User
from auth.services import Parts
from auth.sessions import sessions, step_up

TOTP, PASSKEY = "totp", "passkey"


async def every(db: AsyncSession, caller: Principal) -> Factors:
    """List all of one's factors that count."""
    user_id = users.person(caller)
    app = await totp.find(db, user_id)
    return Factors(
        totp=TotpFactor.model_validate(app) if app and app.confirmed_at else None,
        passkeys=[PasskeyFactor.model_validate(one) for one in await passkeys.of(db, user_id)],
        recovery_codes_left=await recovery_codes.unused(db, user_id),
    )


async def begin_totp(db: AsyncSession, parts: Parts, caller: Principal) -> tuple[str, str]:
    """Give the seed and the address of a new authenticator app; raises TotpExists."""
    return await totp.begin(db, parts, await held(db, caller))


async def confirm_totp(parts: Parts, caller: Principal, code: str) -> list[str] | None:
    """Let the app count; gives the first recovery codes. Raises CodeRefused or TotpExists."""
    user_id = users.person(caller)
    async with parts.database.begin() as db:
        checked = await totp.check(db, parts, user_id, code)
    prepared = await recovery_codes.prepare_first(parts, user_id)
    async with parts.database.begin() as db:
        user = await held(db, caller)
        await totp.confirm(db, checked)
        return await added(db, parts, user, caller.tenant_id, TOTP, prepared=prepared)


async def begin_passkey(db: AsyncSession, parts: Parts, caller: Principal) -> tuple[str, passkeys.Options]:
    """Give a challenge, and what a browser needs to make a passkey."""
    session = await step_up.of(db, caller)
    user = await db.get_one(User, session.user_id)
    asked = challenges.ask(db, parts, Aim.PASSKEY_REGISTRATION, user_id=user.id, session_id=session.id)
    return asked.token, await passkeys.options_to_register(db, parts, user, asked.to_sign)


async def add_passkey(
    parts: Parts, caller: Principal, wanted: NewPasskey
) -> tuple[Passkey, list[str] | None]:
    """Keep a passkey; gives the first recovery codes. Raises PasskeyNotRegistered or PasskeyKnown."""
    token = wanted.challenge.get_secret_value()
    # On its own: the challenge is used up also when what was made for it is refused.
    async with parts.database.begin() as db:
        session = await step_up.of(db, caller)
        try:
            await challenges.take(
                db, parts, Aim.PASSKEY_REGISTRATION, token, Challenge.session_id == session.id
            )
        except ChallengeInvalid:
            raise PasskeyNotRegistered from None
    checked = passkeys.check(parts, wanted, challenges.to_sign(token))
    prepared = await recovery_codes.prepare_first(parts, users.person(caller))
    async with parts.database.begin() as db:
        user = await held(db, caller)
        passkey = await passkeys.register(db, user, checked)
        return passkey, await added(db, parts, user, caller.tenant_id, PASSKEY, prepared=prepared)


async def renew_recovery_codes(parts: Parts, caller: Principal) -> list[str]:
    """Give new recovery codes; raises RateLimited, or FactorUnknown where they would stand for nothing."""
    await parts.rates.of_subject("recovery-codes", caller.subject)
    async with parts.database.begin() as db:
        await held_with_factor(db, caller)
    prepared = await recovery_codes.prepare(parts)
    async with parts.database.begin() as db:
        user = await held_with_factor(db, caller)
        codes = await recovery_codes.renew(db, parts, user, prepared)
        to = emails.Recipient.of(user)
        emails.send(db, parts, MailKind.RECOVERY_CODES_RENEWED, to, tenant_id=caller.tenant_id)
    return codes


async def rename_passkey(db: AsyncSession, caller: Principal, passkey_id: UUID, name: str) -> Passkey:
    """Give a passkey another name; raises FactorUnknown."""
    passkey: Passkey | None = await db.scalar(
        update(Passkey).where(own(caller, passkey_id)).values(name=name).returning(Passkey)
    )
    if passkey is None:
        raise FactorUnknown
    record(db, Action.PASSKEY_RENAMED, actor=caller.subject, passkey=str(passkey_id))
    return passkey


async def remove_totp(db: AsyncSession, parts: Parts, caller: Principal) -> None:
    """Remove the authenticator app; raises FactorUnknown or LastFactorRequired."""
    user = await held(db, caller)
    mine = (Totp.user_id == user.id, Totp.confirmed_at.is_not(None))
    if not await db.scalar(delete(Totp).where(*mine).returning(Totp.id)):
        raise FactorUnknown
    await removed(db, parts, user, caller, TOTP)


async def remove_passkey(db: AsyncSession, parts: Parts, caller: Principal, passkey_id: UUID) -> None:
    """Remove a passkey; raises FactorUnknown or LastFactorRequired."""
    user = await held(db, caller)
    if not await db.scalar(delete(Passkey).where(own(caller, passkey_id)).returning(Passkey.id)):
        raise FactorUnknown
    await removed(db, parts, user, caller, PASSKEY)


async def added(  # noqa: PLR0913  # whose factor, where, and what comes with the first
    db: AsyncSession,
    parts: Parts,
    user: User,
    tenant_id: UUID | None,
    kind: str,
    *,
    prepared: list[Prepared],
) -> list[str] | None:
    """Tell that a factor was added; gives the recovery codes that were prepared to somebody who has none."""
    record(db, Action.SECOND_FACTOR_ADDED, tenant_id=tenant_id, actor=user.subject, factor=kind)
    to = emails.Recipient.of(user)
    emails.send(db, parts, MailKind.SECOND_FACTOR_ADDED, to, tenant_id=tenant_id, factor=kind)
    return await recovery_codes.store_first(db, parts, user, prepared)


async def removed(db: AsyncSession, parts: Parts, user: User, caller: Principal, kind: str) -> None:
    """End the other sessions, void codes that stand for nothing any more, and tell of it.

    Raises LastFactorRequired.
    """
    if not await verification.has_any(db, user.id):
        if await verification.is_required(db, user.id):
            raise LastFactorRequired
        await db.execute(delete(RecoveryCode).where(RecoveryCode.user_id == user.id))
        await attempts.forget(db, user.id)
    others = (Session.user_id == user.id, Session.id != step_up.identity(caller.session_id))
    ended = await sessions.end(db, EndReason.ACCOUNT, *others)
    record(
        db,
        Action.SECOND_FACTOR_REMOVED,
        tenant_id=caller.tenant_id,
        actor=user.subject,
        factor=kind,
        sessions_ended=len(ended),
    )
    to = emails.Recipient.of(user)
    emails.send(db, parts, MailKind.SECOND_FACTOR_REMOVED, to, tenant_id=caller.tenant_id, factor=kind)


async def remove_all(db: AsyncSession, user: User) -> list[str]:
    """Remove all factors of a person, and what was asked of them; gives the kinds. Sessions go on."""
    kinds = await verification.kinds(db, user.id)
    for table in (Totp, Passkey, RecoveryCode, Challenge):
        await db.execute(delete(table).where(table.user_id == user.id))
    await attempts.forget(db, user.id)
    return kinds


async def held(db: AsyncSession, caller: Principal) -> User:
    """Give the caller's account, and keep others from changing its factors; raises FactorUnknown."""
    user = await users.hold_person(db, users.person(caller))
    if user is None:
        raise FactorUnknown
    return user


async def held_with_factor(db: AsyncSession, caller: Principal) -> User:
    """Give the caller's account, locked, if it has a second factor; raises FactorUnknown."""
    user = await held(db, caller)
    if not await verification.has_any(db, user.id):
        raise FactorUnknown
    return user


def own(caller: Principal, passkey_id: UUID) -> ColumnElement[bool]:
    """Say which passkey: a stranger's does not exist."""
    return and_(Passkey.id == passkey_id, Passkey.user_id == users.person(caller))
