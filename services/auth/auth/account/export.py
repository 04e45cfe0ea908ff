"""Exports all data of a user, without secrets and tokens."""

from collections.abc import Sequence
from typing import TypeVar

from pydantic import BaseModel
from servicekit.auth.tokens import Principal
from sqlalchemy import Select, func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from auth import audit
from auth.account import schemas
from auth.account.reauthentication import audit_actor, get_current_user
from auth.api_keys.keys import prefix_of
from auth.models import (
    ApiKey,
    AuditEvent,
    Base,
    Invite,
    Membership,
    Passkey,
    PasswordHistory,
    RecoveryCode,
    Session,
    SignupRequest,
    Tenant,
    Totp,
    User,
)
from auth.sessions import metadata
from auth.settings import Settings

# The newest; who needs older ones asks the operators.
MAX_EVENTS = 10_000

Row = TypeVar("Row", bound=Base)
ExportSchema = TypeVar("ExportSchema", bound=BaseModel)


async def export(db: AsyncSession, settings: Settings, caller: Principal) -> schemas.Export:
    """Return all data of the caller; raises PeopleOnly or SessionEnded."""
    user = await get_current_user(db, caller)
    sessions = await sessions_of(db, settings, user)
    audit.record(db, audit.Action.USER_EXPORTED, **audit_actor(caller))
    keys_query = select(ApiKey).where(ApiKey.created_by == user.id).order_by(ApiKey.created_at)
    sent = select(Invite).where(Invite.invited_by == user.id).order_by(Invite.created_at)
    received = select(Invite).where(Invite.email_key == user.email_key).order_by(Invite.created_at)
    requests_query = select(SignupRequest).where(SignupRequest.email_key == user.email_key)
    replaced = select(PasswordHistory.replaced_at).where(PasswordHistory.user_id == user.id)
    return schemas.Export(
        profile=schemas.ExportedProfile.model_validate(user),
        memberships=await memberships_of(db, user),
        sessions=sessions,
        devices=devices_in(sessions),
        factors=await factors_of(db, user),
        api_keys=[api_key_to_schema(row) for row in await db.scalars(keys_query)],
        invites_sent=await list_rows(db, sent, schemas.ExportedInvite),
        invites_received=await list_rows(db, received, schemas.ExportedReceivedInvite),
        signup_requests=await list_rows(db, requests_query, schemas.ExportedSignupRequest),
        passwords_replaced_at=list(await db.scalars(replaced.order_by(PasswordHistory.replaced_at))),
        audit_events=await events_of(db, user),
    )


async def list_rows(db: AsyncSession, query: Select[Row], kind: type[ExportSchema]) -> list[ExportSchema]:
    """Return rows as their export schema."""
    return [kind.model_validate(row) for row in await db.scalars(query)]


async def memberships_of(db: AsyncSession, user: User) -> list[schemas.ExportedMembership]:
    """List a user's memberships."""
    rows = await db.execute(
        select(Membership.tenant_id, Tenant.name, Tenant.slug, Membership.role, Membership.created_at)
        .join(Tenant, Tenant.id == Membership.tenant_id)
        .where(Membership.user_id == user.id)
        .order_by(Membership.created_at)
    )
    return [schemas.ExportedMembership.model_validate(row) for row in rows]


async def sessions_of(db: AsyncSession, settings: Settings, user: User) -> list[schemas.ExportedSession]:
    """List a user's sessions with their metadata, also ended ones that are still stored."""
    own = await db.scalars(select(Session).where(Session.user_id == user.id).order_by(Session.created_at))
    return [
        schemas.ExportedSession.from_row(row, metadata.decrypt_for(settings, row.id, row.origin))
        for row in own
    ]


def devices_in(sessions: Sequence[schemas.ExportedSession]) -> list[schemas.ExportedDevice]:
    """List the devices of sessions."""
    devices: dict[object, schemas.ExportedDevice] = {}
    for one in sessions:
        if one.device_id is None:
            continue
        seen = devices.setdefault(
            one.device_id,
            schemas.ExportedDevice(
                id=one.device_id,
                name=one.device,
                first_seen_at=one.created_at,
                last_seen_at=one.last_seen_at,
            ),
        )
        seen.last_seen_at = max(seen.last_seen_at, one.last_seen_at)
    return list(devices.values())


async def factors_of(db: AsyncSession, user: User) -> schemas.ExportedFactors:
    """Return a user's factors, without seeds, codes and keys."""
    app = await db.scalar(select(Totp).where(Totp.user_id == user.id))
    passkeys = select(Passkey).where(Passkey.user_id == user.id).order_by(Passkey.created_at)
    codes = select(func.count(), func.count(RecoveryCode.used_at)).where(RecoveryCode.user_id == user.id)
    created, used = (await db.execute(codes)).one()
    return schemas.ExportedFactors(
        totp=schemas.ExportedTotp.model_validate(app) if app else None,
        passkeys=await list_rows(db, passkeys, schemas.ExportedPasskey),
        recovery_codes_made=created,
        recovery_codes_used=used,
    )


def api_key_to_schema(row: ApiKey) -> schemas.ExportedApiKey:
    """Return an API key with its prefix."""
    values = {name: getattr(row, name) for name in schemas.ExportedApiKey.model_fields if name != "prefix"}
    return schemas.ExportedApiKey(prefix=prefix_of(row), **values)


async def events_of(db: AsyncSession, user: User) -> list[schemas.ExportedAuditEvent]:
    """List a user's audit events, newest first."""
    theirs = or_(AuditEvent.subject == user.subject, AuditEvent.actor == user.subject)
    newest = select(AuditEvent).where(theirs).order_by(AuditEvent.happened_at.desc()).limit(MAX_EVENTS)
    return await list_rows(db, newest, schemas.ExportedAuditEvent)
