"""Create, list, rotate and revoke a tenant's API keys."""

import secrets
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from pydantic import SecretStr
from servicekit.auth import api_keys
from servicekit.auth.permissions import Role, allows
from servicekit.auth.tokens import Principal
from servicekit.pagination import next_cursor, paginate
from servicekit.schemas import Page
from sqlalchemy import func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from auth import audit
from auth.access.roles import authorize, get_role
from auth.access.sensitive_actions import SensitiveAction
from auth.api_keys import schemas
from auth.api_keys.entitlement import is_entitled
from auth.api_keys.errors import ApiKeyNotFound, InvalidExpiry, ScopeBeyondOwnRights
from auth.audit import Action
from auth.emails import request_tenant_email
from auth.events import EmailKind
from auth.models import ApiKey, Tenant, User
from auth.security import revocation
from auth.security.keyed_hash import keyed_hash
from auth.security.revocation import RevocationKind
from auth.services import AuthServices
from auth.settings import Settings
from auth.users import user_id_of

SECRET_BYTES = 32
KIND = "api_key"


def digests_of(settings: Settings, key: str) -> list[bytes]:
    """Return the digests of a key, the first under the current pepper."""
    return [keyed_hash(pepper, "api key", key) for pepper in settings.refresh_peppers]


async def create(
    db: AsyncSession, services: AuthServices, caller: Principal, request: schemas.NewApiKey
) -> schemas.CreatedApiKey:
    """Create a key; raises SessionEnded, RoleTooLow, ScopeBeyondOwnRights or InvalidExpiry."""
    tenant, role = await authorize(db, caller, SensitiveAction.CREATE_API_KEY)
    verify_scopes(caller, role, request.scopes)
    if request.expires_at and request.expires_at <= datetime.now(UTC):
        raise InvalidExpiry
    row, text = new_key(services.settings, caller, request)
    db.add(row)
    record_audit(db, Action.TOKEN_CREATED, caller, row, scopes=row.scopes)
    await notify(db, services, EmailKind.API_KEY_CREATED, caller, tenant, row, row.created_by)
    return to_created_schema(row, text)


def new_key(settings: Settings, caller: Principal, request: schemas.NewApiKey) -> tuple[ApiKey, SecretStr]:
    """Return a new key of the caller's, and its text."""
    key_id = uuid4()
    text = generate_secret(key_id)
    row = ApiKey(
        id=key_id,
        tenant_id=caller.tenant_id,
        created_by=user_id_of(caller),
        name=request.name,
        digest=digests_of(settings, text.get_secret_value())[0],
        scopes=sorted(set(request.scopes)),
        networks=request.networks,
        created_at=datetime.now(UTC),
        expires_at=request.expires_at,
    )
    return row, text


async def list_keys(
    db: AsyncSession, caller: Principal, limit: int, cursor: str | None
) -> Page[schemas.ApiKey]:
    """List the tenant's keys, newest first, revoked ones too; raises InvalidCursor."""
    query = select(ApiKey, is_entitled()).where(ApiKey.tenant_id == caller.tenant_id)
    page = paginate(query, ApiKey.created_at, ApiKey.id, limit, cursor, newest_first=True)
    rows = (await db.execute(page)).all()
    following = next_cursor([row for row, _ in rows], limit, "created_at", "id")
    items = [to_schema(row, creator_is_entitled=entitled) for row, entitled in rows[:limit]]
    return Page(items=items, next_cursor=following)


async def rotate(
    db: AsyncSession, services: AuthServices, caller: Principal, key_id: UUID, rotation: schemas.Rotation
) -> schemas.CreatedApiKey:
    """Rotate a key's secret; the caller becomes its holder, and the previous secret ends later.

    Raises SessionEnded, RoleTooLow, ApiKeyNotFound or ScopeBeyondOwnRights.
    """
    tenant, role = await authorize(db, caller, SensitiveAction.ROTATE_API_KEY)
    row = await find(db, caller, key_id)
    verify_scopes(caller, role, row.scopes)
    text = generate_secret(key_id)
    overlap = datetime.now(UTC) + timedelta(minutes=rotation.overlap_minutes)
    row.previous_digest, row.previous_created_by = row.digest, row.created_by
    row.digest, row.created_by = digests_of(services.settings, text.get_secret_value())[0], user_id_of(caller)
    row.previous_expires_at = min(overlap, row.expires_at or overlap)
    if not rotation.overlap_minutes:
        await revocation.revoke(db, RevocationKind.CLIENT, client_id(row.id))
    record_audit(db, Action.TOKEN_ROTATED, caller, row, overlap_minutes=rotation.overlap_minutes)
    holders = (row.previous_created_by, row.created_by)
    await notify(db, services, EmailKind.API_KEY_ROTATED, caller, tenant, row, *holders)
    return to_created_schema(row, text)


async def revoke(db: AsyncSession, services: AuthServices, caller: Principal, key_id: UUID) -> None:
    """Revoke a key with all of its secrets; raises SessionEnded, RoleTooLow or ApiKeyNotFound."""
    tenant, _ = await authorize(db, caller, SensitiveAction.REVOKE_API_KEY)
    row = await find(db, caller, key_id)
    row.revoked_at = datetime.now(UTC)
    # Services ask about a key at each request, but not while a stream lasts that was opened with it.
    await revocation.revoke(db, RevocationKind.CLIENT, client_id(row.id))
    record_audit(db, Action.TOKEN_REVOKED, caller, row)
    await notify(db, services, EmailKind.API_KEY_REVOKED, caller, tenant, row, row.created_by)


def verify_scopes(caller: Principal, role: Role, scopes: Sequence[str]) -> None:
    """Verify that a key gives no more than its holder's role and token do; raises ScopeBeyondOwnRights."""
    if not all(allows(scope, role, caller.scopes) for scope in scopes):
        raise ScopeBeyondOwnRights


async def find(db: AsyncSession, caller: Principal, key_id: UUID) -> ApiKey:
    """Lock and return a working key of the caller's tenant; raises ApiKeyNotFound."""
    row: ApiKey | None = await db.scalar(
        select(ApiKey)
        .where(ApiKey.id == key_id, ApiKey.tenant_id == caller.tenant_id, *WORKING)
        .with_for_update()
    )
    if row is None:
        raise ApiKeyNotFound
    return row


WORKING = (
    ApiKey.revoked_at.is_(None),
    or_(ApiKey.expires_at.is_(None), ApiKey.expires_at > func.now()),
)


def generate_secret(key_id: UUID) -> SecretStr:
    """Create a key's text, of 256 random bits."""
    return SecretStr(api_keys.format_key(key_id, secrets.token_hex(SECRET_BYTES)))


def record_audit(db: AsyncSession, action: Action, caller: Principal, row: ApiKey, **detail: Any) -> None:
    """Audit a change of a key."""
    audit.record(
        db,
        action,
        tenant_id=row.tenant_id,
        actor=caller.subject,
        subject=f"service:{client_id(row.id)}",
        kind=KIND,
        **detail,
    )


async def notify(  # noqa: PLR0913, PLR0917  # the parts of a mail
    db: AsyncSession,
    services: AuthServices,
    kind: EmailKind,
    caller: Principal,
    tenant: Tenant,
    row: ApiKey,
    *holders: UUID,
) -> None:
    """Notify the holders of a key who still belong to the tenant."""
    actor = await db.get_one(User, user_id_of(caller))
    for holder in dict.fromkeys(holders):
        if await get_role(db, tenant.id, holder):
            actor_name = (actor.display_name or "") if holder != actor.id else ""
            user = await db.get_one(User, holder)
            request_tenant_email(db, services, kind, user, tenant, key_name=row.name, actor=actor_name)


def client_id(key_id: UUID) -> str:
    """Return the client id of a key, which has a prefix of its own."""
    return f"ak.{key_id.hex}"


def prefix_of(row: ApiKey) -> str:
    """Return the public prefix of a key."""
    return f"{api_keys.PREFIX}{row.id.hex}"


def to_schema(row: ApiKey, *, creator_is_entitled: bool) -> schemas.ApiKey:
    """Describe a key without its secret."""
    return schemas.ApiKey(
        id=row.id,
        name=row.name,
        prefix=prefix_of(row),
        scopes=row.scopes,
        networks=row.networks,
        created_by=f"user:{row.created_by}",
        creator_is_entitled=creator_is_entitled,
        created_at=row.created_at,
        expires_at=row.expires_at,
        last_used_at=row.last_used_at,
        revoked_at=row.revoked_at,
        previous_expires_at=row.previous_expires_at,
    )


def to_created_schema(row: ApiKey, text: SecretStr) -> schemas.CreatedApiKey:
    """Describe a key with its secret."""
    schema = to_schema(row, creator_is_entitled=True)
    return schemas.CreatedApiKey(**schema.model_dump(), key=text.get_secret_value())
