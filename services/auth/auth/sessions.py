"""Sessions: how they begin, what a client gets of them, and how they end."""

import os
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

from servicekit.context import bind
from servicekit.tokens import Principal
from sqlalchemy import ColumnElement, and_, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from auth import accounts, audit
from auth.accounts import Standing
from auth.audit import Action
from auth.errors import SessionEnded
from auth.factors.errors import SecondFactorMissing
from auth.models import EndReason, RefreshToken, Session
from auth.parts import Parts
from auth.schemas import Me, SessionBundle

KEY_BYTES = 32
LIVE = and_(Session.ended_at.is_(None), Session.expires_at > func.now())


async def entering(db: AsyncSession, parts: Parts, user_id: UUID, tenant_id: UUID | None) -> Standing | None:
    """Tell as what a person may come in now."""
    verified_only = parts.settings.require_email_verification
    found = await accounts.standing(db, user_id, tenant_id, verified_only=verified_only)
    if found is None and tenant_id is None:
        await accounts.settle(db, user_id)
        found = await accounts.standing(db, user_id, None, verified_only=verified_only)
    return found


async def begin(  # noqa: PLR0913  # what a session follows from
    db: AsyncSession,
    parts: Parts,
    standing: Standing,
    amr: Sequence[str],
    *,
    authenticated_at: datetime | None = None,
    expires_at: datetime | None = None,
) -> SessionBundle:
    """Begin a session, with an id and a chain of refresh tokens of its own; `amr` is how (RFC 8176).

    One that follows from another without a proof of its own keeps the times of that.
    """
    now = datetime.now(UTC)
    session = Session(
        user_id=standing.user.id,
        tenant_id=standing.tenant.id,
        key=os.urandom(KEY_BYTES),
        amr=list(amr),
        created_at=now,
        authenticated_at=authenticated_at or now,
        expires_at=expires_at or now + timedelta(minutes=parts.settings.auth_session_ttl_minutes),
    )
    db.add(session)
    await db.flush()
    audit.record(
        db,
        Action.LOGIN_SUCCESS,
        tenant_id=session.tenant_id,
        actor=standing.user.subject,
        session_id=session.id,
        methods=session.amr,
    )
    token = parts.refresh_tokens.first()
    good_until = keep(db, parts, session, token, generation=0)
    return await bundle(parts, standing, session, token, good_until)


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
    if standing.tenant.mfa_required and "mfa" not in session.amr:
        # However somebody came here: without a second factor there are no tokens for this tenant.
        raise SecondFactorMissing
    bind(tenant_id=str(session.tenant_id), user_id=standing.user.subject)
    access = await parts.access_tokens.for_person(standing.user, session, standing.role)
    return SessionBundle(
        access_token=access.token,
        refresh_token=refresh_token,
        expires_at=access.expires_at,
        refresh_expires_at=refresh_expires_at,
        kid=access.kid,
        scopes=access.scopes,
        tenant_id=session.tenant_id,
        user_id=standing.user.subject,
        email_verified=standing.user.email_verified_at is not None,
        session_id=session.id,
    )


async def end(db: AsyncSession, reason: EndReason, *which: ColumnElement[bool]) -> Sequence[UUID]:
    """End the sessions that are still going on; gives their ids."""
    ended = await db.scalars(
        update(Session)
        .where(LIVE, *which)
        .values(ended_at=func.now(), end_reason=reason)
        .returning(Session.id)
        .execution_options(synchronize_session=False)
    )
    return ended.all()


async def sign_out(db: AsyncSession, parts: Parts, token: str) -> None:
    """End the session that a refresh token belongs to; none is just as well (RFC 7009 section 2.2)."""
    digest = parts.refresh_tokens.digest(token)
    own = select(RefreshToken.session_id).where(RefreshToken.digest == digest)
    await end(db, EndReason.LOGOUT, Session.id.in_(own))


async def sign_out_everywhere(db: AsyncSession, caller: Principal) -> None:
    """End all sessions of a person, in every tenant."""
    await end(db, EndReason.LOGOUT_ALL, Session.user_id == accounts.person(caller))


async def me(db: AsyncSession, caller: Principal) -> Me:
    """Tell who is asking; raises PeopleOnly, or SessionEnded while the token itself has minutes to live."""
    user_id = accounts.person(caller)
    live = await db.scalar(select(Session.id).where(Session.id == caller.session_id, LIVE))
    standing = await accounts.standing(db, user_id, caller.tenant_id, verified_only=False)
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
