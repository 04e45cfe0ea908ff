"""Sessions: how they begin, what a client gets of them, and how they end."""

import os
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from uuid import UUID, uuid4

from servicekit.auth.revocations import EVERY_SESSION
from servicekit.auth.tokens import Principal
from servicekit.context import bind
from sqlalchemy import ColumnElement, and_, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from auth import audit, client_info, users
from auth.audit import Action
from auth.errors import SessionEnded, SessionNotFound
from auth.factors.errors import SecondFactorMissing
from auth.models import EndReason, RefreshToken, Revocation, Session, User
from auth.schemas import KnownSession, Me, SessionBundle
from auth.security.revocation import Kind, revoke
from auth.services import Parts
from auth.sessions import anomaly, devices, metadata
from auth.users import Standing

KEY_BYTES = 32
# Before it, an operator has ended every session there was.
CUTOFF = select(Revocation.revoked_at).where(Revocation.key == EVERY_SESSION).scalar_subquery()
LIVE = and_(
    Session.ended_at.is_(None),
    Session.expires_at > func.now(),
    func.coalesce(Session.authenticated_at >= CUTOFF, True),
)


async def entering(db: AsyncSession, parts: Parts, user_id: UUID, tenant_id: UUID | None) -> Standing | None:
    """Tell as what a person may come in now: into an active tenant, or to reactivate their only one."""
    verified_only = parts.settings.require_email_verification
    found = await users.standing(db, user_id, tenant_id, verified_only=verified_only)
    if found is None and tenant_id is None:
        await users.settle(db, user_id)
        found = await users.standing(db, user_id, None, verified_only=verified_only)
    return found or await users.suspended_owner(db, user_id, tenant_id, verified_only=verified_only)


async def begin(  # noqa: PLR0913  # what a session follows from
    db: AsyncSession,
    parts: Parts,
    standing: Standing,
    amr: Sequence[str],
    *,
    device: str | None = None,
    after: Session | None = None,
    authenticated_at: datetime | None = None,
) -> SessionBundle:
    """Begin a session, with an id and a chain of refresh tokens of its own; `amr` is how (RFC 8176).

    `device` is the token that an earlier session on the same device was given. One that comes `after` another
    is on the same device and ends when that would have ended; without a proof of its own it keeps its time of
    proof, too.
    """
    user, now = standing.user, datetime.now(UTC)
    known = after.device_id if after else devices.recognise(parts.settings.refresh_peppers, user.id, device)
    seen = metadata.describe(client_info.current(), parts.places)
    session = described(parts, user, known, seen)
    session.tenant_id = standing.tenant.id
    session.amr = list(amr)
    session.created_at = session.last_seen_at = now
    session.authenticated_at = authenticated_at or now
    longest = session.authenticated_at + parts.settings.longest_session(session.amr)
    session.expires_at = min(after.expires_at, longest) if after else longest
    if not after:
        await make_room(db, parts, user)
        await anomaly.tell(db, parts, session, user, seen, is_known=known is not None)
    db.add(session)
    await db.flush()
    if not after:
        write_down(db, session, user)
    token = parts.refresh_tokens.first()
    good_until = keep(db, parts, session, token, generation=0)
    return await bundle(parts, standing, session, token, good_until)


def described(parts: Parts, user: User, known: UUID | None, seen: metadata.SessionOrigin) -> Session:
    """Make a session that knows where it comes from; `known` is its device, unless that is a new one."""
    session_id, from_where = uuid4(), client_info.current()
    return Session(
        id=session_id,
        user_id=user.id,
        key=os.urandom(KEY_BYTES),
        device_id=known or uuid4(),
        address_digest=from_where.digest if from_where else None,
        origin=metadata.sealed(parts.settings, session_id, seen),
    )


async def make_room(db: AsyncSession, parts: Parts, user: User) -> None:
    """End the oldest sessions of a person who is about to have too many."""
    # Held until the new one is there: many sign-ins at once are counted one after the other.
    await db.execute(select(User.id).where(User.id == user.id).with_for_update(key_share=True))
    kept = parts.settings.auth_sessions_per_person - 1
    live = select(Session.id).where(Session.user_id == user.id, LIVE)
    surplus = await db.scalars(live.order_by(Session.last_seen_at.desc(), Session.id).offset(kept))
    await end(db, EndReason.EVICTED, Session.id.in_(surplus.all()))


def write_down(db: AsyncSession, session: Session, user: User) -> None:
    """Let the audit log know that somebody is in, and after how many failures; they are over with that."""
    record = partial(audit.record, db, tenant_id=session.tenant_id, actor=user.subject, session_id=session.id)
    record(Action.LOGIN_SUCCESS, methods=list(session.amr))
    if user.failed_sign_ins:
        record(Action.LOGIN_SUCCESS_AFTER_FAIL, failures=user.failed_sign_ins)
        user.failed_sign_ins = 0


def keep(db: AsyncSession, parts: Parts, session: Session, token: str, generation: int) -> datetime:
    """Keep a refresh token's digest; gives the time until which the token is good."""
    expires_at = parts.refresh_tokens.expiry(session, datetime.now(UTC))
    digest = parts.refresh_tokens.digest(token)
    db.add(RefreshToken(digest=digest, session_id=session.id, generation=generation, expires_at=expires_at))
    return expires_at


async def bundle(
    parts: Parts, standing: Standing, session: Session, refresh_token: str, refresh_expires_at: datetime
) -> SessionBundle:
    """Put together what a client gets; from now on the request's logs tell whose it is.

    Raises SecondFactorMissing.
    """
    if lacks_factor(standing, session):
        # However somebody came here: without a second factor there are no tokens for this tenant.
        raise SecondFactorMissing
    bind(tenant_id=str(session.tenant_id), user_id=standing.user.subject)
    # Without tenant and role a token opens nothing but `SignedIn` routes, in whichever service.
    role = None if standing.is_suspended else standing.role
    access = await parts.access_tokens.for_person(standing.user, session, role)
    return SessionBundle(
        access_token=access.token,
        refresh_token=refresh_token,
        expires_at=access.expires_at,
        refresh_expires_at=refresh_expires_at,
        kid=access.kid,
        scopes=access.scopes,
        tenant_id=session.tenant_id,
        tenant_status=standing.tenant.status,
        user_id=standing.user.subject,
        email_verified=standing.user.email_verified_at is not None,
        session_id=session.id,
        device=device_token(parts, session),
    )


def lacks_factor(standing: Standing, session: Session) -> bool:
    """Return whether a session was begun with less than its tenant requires now."""
    return standing.tenant.mfa_required and "mfa" not in session.amr


def device_token(parts: Parts, session: Session) -> str | None:
    """Give what the device of a session will be known by; sessions of an older kind have none."""
    if session.device_id is None:
        return None
    return devices.token_of(parts.settings.auth_refresh_token_pepper, session.user_id, session.device_id)


async def end(
    db: AsyncSession, reason: EndReason, *which: ColumnElement[bool], actor: str | None = None
) -> Sequence[UUID]:
    """End the sessions that are still going on, and with them their access tokens; gives their ids."""
    result = await db.execute(
        update(Session)
        .where(LIVE, *which)
        .values(ended_at=func.now(), end_reason=reason)
        .returning(Session.id, Session.user_id, Session.tenant_id)
        .execution_options(synchronize_session=False)
    )
    ended = result.all()
    for session_id, user_id, tenant_id in ended:
        audit.record(
            db,
            Action.SESSION_ENDED,
            tenant_id=tenant_id,
            actor=actor,
            subject=f"user:{user_id}",
            session_id=session_id,
            reason=reason.value,
        )
    await revoke(db, Kind.SESSION, *(str(session_id) for session_id, *_ in ended))
    return [session_id for session_id, *_ in ended]


async def sign_out(db: AsyncSession, parts: Parts, token: str) -> None:
    """End the session that a refresh token belongs to; none is just as well (RFC 7009 section 2.2)."""
    digests = parts.refresh_tokens.digests(token)
    own = select(RefreshToken.session_id).where(RefreshToken.digest.in_(digests))
    await end(db, EndReason.LOGOUT, Session.id.in_(own))


async def sign_out_everywhere(db: AsyncSession, caller: Principal) -> None:
    """End all sessions of a person, in every tenant."""
    # Locked, so that none goes on under a new id meanwhile.
    await users.hold_person(db, users.person(caller))
    await end(db, EndReason.LOGOUT_ALL, Session.user_id == users.person(caller), actor=caller.subject)


async def sign_out_others(db: AsyncSession, caller: Principal) -> None:
    """End all sessions of a person but the one that asks."""
    await users.hold_person(db, users.person(caller))
    own = (Session.user_id == users.person(caller), Session.id != UUID(caller.session_id))
    await end(db, EndReason.REVOKED, *own, actor=caller.subject)


async def end_one(db: AsyncSession, caller: Principal, session_id: UUID) -> None:
    """End a session of one's own; raises SessionNotFound."""
    own = (Session.user_id == users.person(caller), Session.id == session_id)
    if not await end(db, EndReason.REVOKED, *own, actor=caller.subject):
        raise SessionNotFound


async def list_own(db: AsyncSession, parts: Parts, caller: Principal) -> list[KnownSession]:
    """List the sessions of a person that can go on, the last used first; as many as one may have."""
    now, rest = datetime.now(UTC), parts.refresh_tokens.rest
    asked = select(Session).where(Session.user_id == users.person(caller), LIVE)
    live = await db.scalars(asked.order_by(Session.last_seen_at.desc(), Session.id))
    return [shown(parts, caller, one) for one in live if one.last_seen_at > now - rest(one.amr)]


def shown(parts: Parts, caller: Principal, session: Session) -> KnownSession:
    """Show a session to its owner."""
    seen = metadata.opened(parts.settings, session.id, session.origin)
    return KnownSession(
        id=session.id,
        tenant_id=session.tenant_id,
        device=seen.device,
        address=seen.address,
        place=seen.place,
        created_at=session.created_at,
        last_seen_at=session.last_seen_at,
        is_current=str(session.id) == caller.session_id,
    )


async def me(db: AsyncSession, caller: Principal) -> Me:
    """Tell who is asking; raises PeopleOnly, or SessionEnded while the token itself has minutes to live."""
    user_id = users.person(caller)
    live = await db.scalar(select(Session.id).where(Session.id == caller.session_id, LIVE))
    standing = await users.standing(db, user_id, caller.tenant_id, verified_only=False)
    if live is None or standing is None or caller.role is None:
        raise SessionEnded
    return Me(
        user_id=caller.subject,
        email=standing.user.email,
        email_verified=standing.user.email_verified_at is not None,
        display_name=standing.user.display_name,
        tenant_id=standing.tenant.id,
        tenant_name=standing.tenant.name,
        tenant_slug=standing.tenant.slug,
        role=caller.role,
        scopes=sorted(caller.scopes),
        session_id=live,
    )
