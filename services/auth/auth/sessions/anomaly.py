"""Notifies a user of an anomalous sign-in: from a new device, or from too far to travel.

It keeps nobody out. Where an address is can be told only roughly, and a VPN is anywhere; who has a second
factor has proved it by then, wherever they are.
"""

from datetime import UTC, datetime, timedelta
from functools import partial

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from auth import audit, emails
from auth.audit import Action
from auth.events import EmailKind
from auth.models import AuditEvent, Session, User
from auth.security.geoip import Location, distance_km
from auth.services import AuthServices
from auth.sessions import devices, metadata
from auth.sessions.metadata import SessionMetadata

# Faster than any flight with passengers, and the ways between two of what one map calls the same town.
MAX_SPEED_KMH = 1000
SLACK_KM = 200
NOTIFICATION_INTERVAL = timedelta(days=1)


async def check_sign_in(  # noqa: PLR0913  # whose, and what of it is told
    db: AsyncSession,
    services: AuthServices,
    session: Session,
    user: User,
    seen: SessionMetadata,
    *,
    is_known: bool,
) -> None:
    """Audit an anomalous sign-in and notify the user; never of the first one.

    A device that is known by its token is theirs: it may use a VPN, and is told of to the audit log alone.
    """
    previous = await impossible_travel_from(db, services, user, seen)
    is_new = (
        not is_known
        and not await devices.has_signed_in_from_here(db, user)
        and await devices.has_signed_in(db, user)
    )
    notifies_of_travel = previous and not is_known and not await was_recently_notified(db, user)
    record = partial(audit.record, db, tenant_id=session.tenant_id, actor=user.subject, session_id=session.id)
    send = partial(
        emails.request_email, db, services, to=emails.Recipient.from_user(user), tenant_id=session.tenant_id
    )
    if previous:
        record(Action.IMPOSSIBLE_TRAVEL, told=bool(notifies_of_travel))
    if is_new:
        record(Action.NEW_DEVICE)
    if previous and notifies_of_travel:
        send(kind=EmailKind.IMPOSSIBLE_TRAVEL, place_before=previous.place or "", **seen.facts())
    elif is_new:
        send(kind=EmailKind.NEW_DEVICE, **seen.facts())


async def impossible_travel_from(
    db: AsyncSession, services: AuthServices, user: User, seen: SessionMetadata
) -> SessionMetadata | None:
    """Return the metadata of the last session if it is too far away for the time since."""
    if seen.spot is None:
        return None
    query = select(Session).where(Session.user_id == user.id).order_by(Session.created_at.desc()).limit(1)
    last: Session | None = await db.scalar(query)
    if last is None:
        return None
    previous = metadata.decrypt_for(services.settings, last.id, last.origin)
    since = datetime.now(UTC) - last.created_at
    return previous if previous.spot and is_impossible(previous.spot, seen.spot, since) else None


def is_impossible(one: Location, other: Location, time: timedelta) -> bool:
    """Return whether two places are certainly too far apart for the time between."""
    hours = max(time / timedelta(hours=1), 0)
    return distance_km(one, other) - one.radius - other.radius > SLACK_KM + MAX_SPEED_KMH * hours


async def was_recently_notified(db: AsyncSession, user: User) -> bool:
    """Return whether the user was notified recently."""
    lately = (
        AuditEvent.subject == user.subject,
        AuditEvent.happened_at > datetime.now(UTC) - NOTIFICATION_INTERVAL,
        AuditEvent.action == Action.IMPOSSIBLE_TRAVEL.value,
        AuditEvent.detail["told"].as_boolean(),
    )
    return await db.scalar(select(AuditEvent.id).where(*lately).limit(1)) is not None
