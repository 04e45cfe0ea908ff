"""All that auth holds of a person, for that person."""

from servicekit.tokens import Principal
from sqlalchemy import or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from auth import audit
from auth.account import schemas
from auth.account.reauthentication import by, present
from auth.models import AuditEvent, Membership, Session, Tenant

# The newest; who needs older ones asks the operators.
MOST_EVENTS = 10_000


async def export(db: AsyncSession, caller: Principal) -> schemas.Export:
    """Give what is held of the caller, without secrets; raises PeopleOnly or SessionEnded."""
    user = await present(db, caller)
    memberships = await db.execute(
        select(Membership.tenant_id, Tenant.name, Tenant.slug, Membership.role, Membership.created_at)
        .join(Tenant, Tenant.id == Membership.tenant_id)
        .where(Membership.user_id == user.id)
        .order_by(Membership.created_at)
    )
    own_sessions = await db.scalars(
        select(Session).where(Session.user_id == user.id).order_by(Session.created_at)
    )
    events = await db.scalars(
        select(AuditEvent)
        .where(or_(AuditEvent.subject == user.subject, AuditEvent.actor == user.subject))
        .order_by(AuditEvent.happened_at.desc())
        .limit(MOST_EVENTS)
    )
    audit.record(db, audit.Action.USER_EXPORTED, **by(caller))
    return schemas.Export(
        profile=schemas.HeldProfile.model_validate(user),
        memberships=[schemas.HeldMembership.model_validate(row) for row in memberships],
        sessions=[schemas.HeldSession.model_validate(row) for row in own_sessions],
        audit_events=[schemas.HeldEvent.model_validate(row) for row in events],
    )
