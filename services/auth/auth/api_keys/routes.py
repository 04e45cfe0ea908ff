"""The routes of API keys."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, status
from servicekit.auth.api_keys import SCOPE, Introspection
from servicekit.auth.dependencies import require, service_only
from servicekit.auth.tokens import Principal
from servicekit.database import Session as Db
from servicekit.schemas import Cursor, Limit, Page

from auth.access.sensitive_actions import SensitiveAction
from auth.api_keys import introspection, keys, schemas
from auth.routing import auth_router, no_store
from auth.services import Services
from auth.sessions.authorization import sensitive

Manager = Annotated[Principal, require("api_keys:manage")]

router = auth_router("api keys", prefix="/api-keys")
internal_router = APIRouter(
    prefix="/internal/v1/api-keys", tags=["api keys"], dependencies=[Depends(no_store)]
)


@router.post("", status_code=status.HTTP_201_CREATED)
async def create_api_key(
    request: schemas.NewApiKey,
    caller: Annotated[Principal, sensitive(SensitiveAction.CREATE_API_KEY)],
    services: Services,
    db: Db,
) -> schemas.CreatedApiKey:
    """Create a key for a machine; its secret is returned only now."""
    return await keys.create(db, services, caller, request)


@router.get("")
async def list_api_keys(
    caller: Manager, db: Db, limit: Limit = 50, cursor: Cursor = None
) -> Page[schemas.ApiKey]:
    """List the tenant's keys, newest first."""
    return await keys.list_keys(db, caller, limit, cursor)


@router.post("/{key_id}/rotate")
async def rotate_api_key(
    key_id: UUID,
    rotation: schemas.Rotation,
    caller: Annotated[Principal, sensitive(SensitiveAction.ROTATE_API_KEY)],
    services: Services,
    db: Db,
) -> schemas.CreatedApiKey:
    """Rotate a key's secret; the caller becomes its holder.

    The secret before works until `previous_expires_at`, if who was given it may still hold keys. With
    `overlap_minutes` 0 it ends at once: rotate a leaked key like that.
    """
    return await keys.rotate(db, services, caller, key_id, rotation)


@router.delete("/{key_id}", status_code=status.HTTP_204_NO_CONTENT)
async def revoke_api_key(
    key_id: UUID,
    caller: Annotated[Principal, sensitive(SensitiveAction.REVOKE_API_KEY)],
    services: Services,
    db: Db,
) -> None:
    """Revoke a key; within five seconds all services reject it."""
    await keys.revoke(db, services, caller, key_id)


@internal_router.post("/introspect", dependencies=[service_only(SCOPE)])
async def introspect_api_key(request: schemas.IntrospectionRequest, services: Services) -> Introspection:
    """Return what an API key may do now, for the service that received it."""
    return await introspection.introspect(services, request.key.get_secret_value(), request.address)
