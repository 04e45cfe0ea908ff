"""Exchanges refresh tokens: each is single-use, so that the use of a copy is detected."""

import logging
from datetime import UTC, datetime, timedelta
from uuid import UUID

from prometheus_client import Counter
from sqlalchemy import Row, and_, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased
from sqlalchemy.orm.exc import StaleDataError

from auth import audit, client_info, emails
from auth.audit import Action
from auth.emails import Recipient
from auth.errors import Challenged, InvalidRefreshToken, RefreshTokenReused
from auth.events import EmailKind
from auth.factors.errors import SecondFactorMissing
from auth.models import EndReason, RefreshToken, Session, User
from auth.schemas import TokenResponse
from auth.security.keyed_hash import keyed_hash
from auth.services import AuthServices
from auth.sessions import metadata, sessions

logger = logging.getLogger(__name__)

REFRESHES = Counter("auth_refreshes_total", "Refresh tokens that came in.", ["result"])

UNUSED = and_(RefreshToken.consumed_at.is_(None), RefreshToken.expires_at > func.now())


async def refresh(services: AuthServices, token: str, device: str | None = None) -> TokenResponse:
    """Exchange a refresh token for its successor.

    Raises InvalidRefreshToken, RefreshTokenReused or SecondFactorMissing.
    """
    try:
        outcome = await exchange_in_transaction(services, token, device)
    except StaleDataError:  # the account was deleted meanwhile, and the session with it
        raise InvalidRefreshToken from None
    if isinstance(outcome, Challenged):
        raise outcome
    return outcome


async def exchange_in_transaction(
    services: AuthServices, token: str, device: str | None
) -> TokenResponse | Challenged:
    """Exchange a token in a transaction of its own."""
    async with services.database.begin() as db:
        # Given back and not raised: raising would undo the end of a session that was just found to be stolen.
        return await exchange(db, services, token, client_digests(services, device))


def client_digests(services: AuthServices, device: str | None) -> list[bytes]:
    """Return the digests that identify a client: of its user agent, and of its device token if it sends one.

    By any of the digests it may have been written down; the first is for now. Not by its address: where an
    answer is lost, that is often because the network changes.
    """
    where = client_info.current_client()
    named = (where.user_agent if where else None) or ""
    peppers = services.settings.refresh_peppers
    return [keyed_hash(pepper, "refresh client", named, device or "") for pepper in peppers]


async def exchange(
    db: AsyncSession, services: AuthServices, token: str, client: list[bytes]
) -> TokenResponse | Challenged:
    """Consume a token, or return its successor again to the same client within the grace period."""
    digests = services.refresh_tokens.digests(token)
    used = await consume(db, digests, client)
    again = None if used else await replay_within_grace(db, digests, client, services.refresh_tokens.grace)
    if (link := used or again) is None:
        return await reject(db, services, digests)
    session = await db.get_one(Session, link.session_id)
    access = await sessions.get_access(db, services, session.user_id, session.tenant_id)
    if access is None:
        await sessions.end(db, EndReason.ACCOUNT, Session.id == session.id)
        return count("refused", InvalidRefreshToken())
    if sessions.lacks_required_factor(access, session):
        await sessions.end(db, EndReason.MFA_REQUIRED, Session.id == session.id)
        return count("refused", SecondFactorMissing())
    session.last_seen_at = datetime.now(UTC)
    if again:
        successor = services.refresh_tokens.repeat_successor(token, session.key, again.digest)
        expires_at = again.expires_at
    else:
        successor = services.refresh_tokens.successor(token, session.key)
        expires_at = sessions.store_refresh_token(db, services, session, successor, link.generation + 1)
    REFRESHES.labels("repeated" if again else "rotated").inc()
    return await sessions.issue_tokens(services, access, session, successor, expires_at)


async def consume(db: AsyncSession, digests: list[bytes], client: list[bytes]) -> Row[UUID, int] | None:
    """Consume a token in one statement: of concurrent calls exactly one succeeds."""
    used = await db.execute(
        update(RefreshToken)
        .where(
            RefreshToken.digest.in_(digests), UNUSED, RefreshToken.session_id == Session.id, sessions.IS_LIVE
        )
        .values(consumed_at=func.now(), consumed_by=client[0])
        .returning(RefreshToken.session_id, RefreshToken.generation)
        .execution_options(synchronize_session=False)
    )
    return used.one_or_none()


async def replay_within_grace(
    db: AsyncSession, digests: list[bytes], client: list[bytes], grace: timedelta
) -> Row[UUID, int, datetime, bytes] | None:
    """Return the successor of a token that this client has just used, unless that was used as well."""
    used = aliased(RefreshToken)
    rows = await db.execute(
        select(RefreshToken.session_id, RefreshToken.generation, RefreshToken.expires_at, RefreshToken.digest)
        .join(
            used,
            and_(used.session_id == RefreshToken.session_id, used.generation == RefreshToken.generation - 1),
        )
        .join(Session, Session.id == RefreshToken.session_id)
        .where(
            used.digest.in_(digests),
            used.consumed_by.in_(client),
            used.consumed_at >= func.now() - grace,
            UNUSED,
            sessions.IS_LIVE,
        )
    )
    return rows.one_or_none()


async def reject(db: AsyncSession, services: AuthServices, digests: list[bytes]) -> Challenged:
    """Reject a token; end the session if the token was used before, so has been copied."""
    used = select(RefreshToken.session_id).where(
        RefreshToken.digest.in_(digests), RefreshToken.consumed_at.is_not(None)
    )
    stolen = await sessions.end(db, EndReason.TOKEN_REUSED, Session.id.in_(used))
    if not stolen:
        return count("refused", InvalidRefreshToken())
    await report_reuse(db, services, stolen[0])
    return count("reused", RefreshTokenReused())


async def report_reuse(db: AsyncSession, services: AuthServices, session_id: UUID) -> None:
    """Audit a reused refresh token and notify the session's owner."""
    logger.warning("refresh token reused", extra={"session": str(session_id)})
    session = await db.get_one(Session, session_id)
    user = await db.get_one(User, session.user_id)
    seen = metadata.decrypt_for(services.settings, session.id, session.origin)
    emails.request_email(
        db,
        services,
        EmailKind.SESSION_STOLEN,
        Recipient.from_user(user),
        tenant_id=session.tenant_id,
        **seen.facts(),
    )
    audit.record(
        db, Action.TOKEN_REUSE, tenant_id=session.tenant_id, subject=user.subject, session_id=session.id
    )


def count(result: str, refusal: Challenged) -> Challenged:
    """Count a rejected token."""
    REFRESHES.labels(result).inc()
    return refusal
