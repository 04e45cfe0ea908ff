"""Sessions: begin, issue tokens, list and end them."""

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
from auth.schemas import Me, OwnSession, TokenResponse
from auth.security.revocation import RevocationKind, revoke
from auth.services import AuthServices
from auth.sessions import anomaly, devices, metadata
from auth.users import Access

KEY_BYTES = 32
# Before it, an operator has ended every session there was.
CUTOFF = select(Revocation.revoked_at).where(Revocation.key == EVERY_SESSION).scalar_subquery()
IS_LIVE = and_(
    Session.ended_at.is_(None),
    Session.expires_at > func.now(),
    func.coalesce(Session.authenticated_at >= CUTOFF, True),
)


async def get_access(
    db: AsyncSession, services: AuthServices, user_id: UUID, tenant_id: UUID | None
) -> Access | None:
    """Return a user's access: to an active tenant, or to a suspended one that they may reactivate."""
    verified_only = services.settings.require_email_verification
    access = await users.get_access(db, user_id, tenant_id, verified_only=verified_only)
    if access is None and tenant_id is None:
        await users.ensure_personal_tenant(db, user_id)
        access = await users.get_access(db, user_id, None, verified_only=verified_only)
    return access or await users.get_suspended_owner_access(
        db, user_id, tenant_id, verified_only=verified_only
    )


async def begin(  # noqa: PLR0913  # what a session follows from
    db: AsyncSession,
    services: AuthServices,
    access: Access,
    amr: Sequence[str],
    *,
    device: str | None = None,
    after: Session | None = None,
    authenticated_at: datetime | None = None,
) -> TokenResponse:
    """Begin a session with a chain of refresh tokens; `amr` lists the methods (RFC 8176).

    `device` is the token that an earlier session on the same device was given. One that comes `after` another
    is on the same device and ends when that would have ended; without a proof of its own it keeps its time of
    proof, too.
    """
    user, now = access.user, datetime.now(UTC)
    device_id = (
        after.device_id
        if after
        else devices.verify_device_token(services.settings.refresh_peppers, user.id, device)
    )
    seen = metadata.from_client(client_info.current_client(), services.places)
    session = new_session(services, user, device_id, seen)
    session.tenant_id = access.tenant.id
    session.amr = list(amr)
    session.created_at = session.last_seen_at = now
    session.authenticated_at = authenticated_at or now
    longest = session.authenticated_at + services.settings.longest_session(session.amr)
    session.expires_at = min(after.expires_at, longest) if after else longest
    if not after:
        await evict_oldest(db, services, user)
        await anomaly.check_sign_in(db, services, session, user, seen, is_known=device_id is not None)
    db.add(session)
    await db.flush()
    if not after:
        audit_sign_in(db, session, user)
    token = services.refresh_tokens.generate()
    good_until = store_refresh_token(db, services, session, token, generation=0)
    return await issue_tokens(services, access, session, token, good_until)


def new_session(
    services: AuthServices, user: User, device_id: UUID | None, seen: metadata.SessionMetadata
) -> Session:
    """Create a session with its client metadata; `device_id` is None for a new device."""
    session_id, from_where = uuid4(), client_info.current_client()
    return Session(
        id=session_id,
        user_id=user.id,
        key=os.urandom(KEY_BYTES),
        device_id=device_id or uuid4(),
        address_digest=from_where.digest if from_where else None,
        origin=metadata.encrypt_for(services.settings, session_id, seen),
    )


async def evict_oldest(db: AsyncSession, services: AuthServices, user: User) -> None:
    """End a user's oldest sessions, to make room for a new one."""
    # Held until the new one is there: many sign-ins at once are counted one after the other.
    await db.execute(select(User.id).where(User.id == user.id).with_for_update(key_share=True))
    max_others = services.settings.auth_sessions_per_person - 1
    live = select(Session.id).where(Session.user_id == user.id, IS_LIVE)
    surplus = await db.scalars(live.order_by(Session.last_seen_at.desc(), Session.id).offset(max_others))
    await end(db, EndReason.EVICTED, Session.id.in_(surplus.all()))


def audit_sign_in(db: AsyncSession, session: Session, user: User) -> None:
    """Audit a sign-in with the failures before it, and reset those."""
    record = partial(audit.record, db, tenant_id=session.tenant_id, actor=user.subject, session_id=session.id)
    record(Action.LOGIN_SUCCESS, methods=list(session.amr))
    if user.failed_sign_ins:
        record(Action.LOGIN_SUCCESS_AFTER_FAIL, failures=user.failed_sign_ins)
        user.failed_sign_ins = 0


def store_refresh_token(
    db: AsyncSession, services: AuthServices, session: Session, token: str, generation: int
) -> datetime:
    """Store a refresh token's digest; returns the time until which the token is good."""
    expires_at = services.refresh_tokens.expiry(session, datetime.now(UTC))
    digest = services.refresh_tokens.digest(token)
    db.add(RefreshToken(digest=digest, session_id=session.id, generation=generation, expires_at=expires_at))
    return expires_at


async def issue_tokens(
    services: AuthServices, access: Access, session: Session, refresh_token: str, refresh_expires_at: datetime
) -> TokenResponse:
    """Issue the tokens of a session, and bind its user to the request's logs.

    Raises SecondFactorMissing.
    """
    if lacks_required_factor(access, session):
        # However somebody came here: without a second factor there are no tokens for this tenant.
        raise SecondFactorMissing
    bind(tenant_id=str(session.tenant_id), user_id=access.user.subject)
    # Without tenant and role a token opens nothing but `SignedIn` routes, in whichever service.
    role = None if access.is_suspended else access.role
    access_token = await services.access_tokens.for_user(access.user, session, role)
    return TokenResponse(
        access_token=access_token.token,
        refresh_token=refresh_token,
        expires_at=access_token.expires_at,
        refresh_expires_at=refresh_expires_at,
        kid=access_token.kid,
        scopes=access_token.scopes,
        tenant_id=session.tenant_id,
        tenant_status=access.tenant.status,
        user_id=access.user.subject,
        email_verified=access.user.email_verified_at is not None,
        session_id=session.id,
        device=device_token(services, session),
    )


def lacks_required_factor(access: Access, session: Session) -> bool:
    """Return whether a session was begun with less than its tenant requires now."""
    return access.tenant.mfa_required and "mfa" not in session.amr


def device_token(services: AuthServices, session: Session) -> str | None:
    """Return the token of a session's device; sessions of an older version have none."""
    if session.device_id is None:
        return None
    return devices.create_token(
        services.settings.auth_refresh_token_pepper.current, session.user_id, session.device_id
    )


async def end(
    db: AsyncSession, reason: EndReason, *which: ColumnElement[bool], actor: str | None = None
) -> Sequence[UUID]:
    """End live sessions and revoke their access tokens; return their ids."""
    result = await db.execute(
        update(Session)
        .where(IS_LIVE, *which)
        .values(ended_at=func.now(), end_reason=reason)
        .returning(Session.id, Session.user_id, Session.tenant_id)
        .execution_options(synchronize_session=False)
    )
    ended = result.all()
    record = partial(audit.record, db, Action.SESSION_ENDED, actor=actor, reason=reason.value)
    for session_id, user_id, tenant_id in ended:
        record(tenant_id=tenant_id, subject=f"user:{user_id}", session_id=session_id)
    await revoke(db, RevocationKind.SESSION, *(str(session_id) for session_id, *_ in ended))
    return [session_id for session_id, *_ in ended]


async def sign_out(db: AsyncSession, services: AuthServices, token: str) -> None:
    """End the session of a refresh token; succeed if there is none (RFC 7009 section 2.2)."""
    digests = services.refresh_tokens.digests(token)
    own = select(RefreshToken.session_id).where(RefreshToken.digest.in_(digests))
    await end(db, EndReason.LOGOUT, Session.id.in_(own))


async def sign_out_everywhere(db: AsyncSession, caller: Principal) -> None:
    """End all sessions of a person, in every tenant."""
    # Locked, so that none goes on under a new id meanwhile.
    await users.lock_user(db, users.user_id_of(caller))
    await end(db, EndReason.LOGOUT_ALL, Session.user_id == users.user_id_of(caller), actor=caller.subject)


async def sign_out_others(db: AsyncSession, caller: Principal) -> None:
    """End all sessions of a user but the caller's."""
    await users.lock_user(db, users.user_id_of(caller))
    own = (Session.user_id == users.user_id_of(caller), Session.id != UUID(caller.session_id))
    await end(db, EndReason.REVOKED, *own, actor=caller.subject)


async def end_one(db: AsyncSession, caller: Principal, session_id: UUID) -> None:
    """End one of the caller's sessions; raises SessionNotFound."""
    own = (Session.user_id == users.user_id_of(caller), Session.id == session_id)
    if not await end(db, EndReason.REVOKED, *own, actor=caller.subject):
        raise SessionNotFound


async def list_own(db: AsyncSession, services: AuthServices, caller: Principal) -> list[OwnSession]:
    """List a user's live sessions, the last used first, up to the maximum per person."""
    now, rest = datetime.now(UTC), services.refresh_tokens.idle_timeout
    query = select(Session).where(Session.user_id == users.user_id_of(caller), IS_LIVE)
    live = await db.scalars(query.order_by(Session.last_seen_at.desc(), Session.id))
    return [to_schema(services, caller, one) for one in live if one.last_seen_at > now - rest(one.amr)]


def to_schema(services: AuthServices, caller: Principal, session: Session) -> OwnSession:
    """Return the schema of a session for its owner."""
    seen = metadata.decrypt_for(services.settings, session.id, session.origin)
    return OwnSession(
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
    """Return the caller; raises PeopleOnly, or SessionEnded although the token has not expired."""
    user_id = users.user_id_of(caller)
    live = await db.scalar(select(Session.id).where(Session.id == caller.session_id, IS_LIVE))
    access = await users.get_access(db, user_id, caller.tenant_id, verified_only=False)
    if live is None or access is None or caller.role is None:
        raise SessionEnded
    return Me(
        user_id=caller.subject,
        email=access.user.email,
        email_verified=access.user.email_verified_at is not None,
        display_name=access.user.display_name,
        tenant_id=access.tenant.id,
        tenant_name=access.tenant.name,
        tenant_slug=access.tenant.slug,
        role=caller.role,
        scopes=sorted(caller.scopes),
        session_id=live,
    )
