"""Telling a person of a sign-in that is unlike theirs: from a new device, or from too far to travel.

It keeps nobody out. Where an address is can be told only roughly, and a VPN is anywhere; who has a second
factor has proved it by then, wherever they are.
"""

from datetime import UTC, datetime, timedelta
from functools import partial

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from auth import audit, emails
from auth.audit import Action
from auth.events import MailKind
from auth.models import AuditEvent, Session, User
from auth.security.geoip import Spot, apart
from auth.services import Parts
from auth.sessions import devices, metadata
from auth.sessions.metadata import SessionOrigin

# Faster than any flight with passengers, and the ways between two of what one map calls the same town.
FASTEST_KMH = 1000
SLACK_KM = 200
ONE_LETTER_IN = timedelta(days=1)


async def tell(  # noqa: PLR0913  # whose, and what of it is told
    db: AsyncSession, parts: Parts, session: Session, user: User, seen: SessionOrigin, *, is_known: bool
) -> None:
    """Write down what is unlike the person's other sign-ins, and tell them; the first one ever is no news.

    A device that is known by its token is theirs: it may use a VPN, and is told of to the audit log alone.
    """
    left = await left_too_far(db, parts, user, seen)
    is_new = (
        not is_known and not await devices.has_been_here(db, user) and await devices.has_signed_in(db, user)
    )
    tells_of_travel = left and not is_known and not await told_of_travel(db, user)
    record = partial(audit.record, db, tenant_id=session.tenant_id, actor=user.subject, session_id=session.id)
    send = partial(emails.send, db, parts, to=emails.Recipient.of(user), tenant_id=session.tenant_id)
    if left:
        record(Action.IMPOSSIBLE_TRAVEL, told=bool(tells_of_travel))
    if is_new:
        record(Action.NEW_DEVICE)
    if left and tells_of_travel:
        send(kind=MailKind.IMPOSSIBLE_TRAVEL, place_before=left.place or "", **seen.facts())
    elif is_new:
        send(kind=MailKind.NEW_DEVICE, **seen.facts())


async def left_too_far(
    db: AsyncSession, parts: Parts, user: User, seen: SessionOrigin
) -> SessionOrigin | None:
    """Give where a person's last session began, if nobody gets from there to here in the time since."""
    if seen.spot is None:
        return None
    asked = select(Session).where(Session.user_id == user.id).order_by(Session.created_at.desc()).limit(1)
    last: Session | None = await db.scalar(asked)
    if last is None:
        return None
    left = metadata.opened(parts.settings, last.id, last.origin)
    since = datetime.now(UTC) - last.created_at
    return left if left.spot and is_too_far(left.spot, seen.spot, since) else None


def is_too_far(one: Spot, other: Spot, time: timedelta) -> bool:
    """Tell whether two places are surely farther apart than anybody gets in the time."""
    hours = max(time / timedelta(hours=1), 0)
    return apart(one, other) - one.radius - other.radius > SLACK_KM + FASTEST_KMH * hours


async def told_of_travel(db: AsyncSession, user: User) -> bool:
    """Tell whether a person has had such a letter lately."""
    lately = (
        AuditEvent.subject == user.subject,
        AuditEvent.happened_at > datetime.now(UTC) - ONE_LETTER_IN,
        AuditEvent.action == Action.IMPOSSIBLE_TRAVEL.value,
        AuditEvent.detail["told"].as_boolean(),
    )
    return await db.scalar(select(AuditEvent.id).where(*lately).limit(1)) is not None
