"""The addresses of API keys."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, status
from servicekit.auth.api_keys import SCOPE, Introspection
from servicekit.auth.dependencies import require, service_only
from servicekit.auth.tokens import Principal
from servicekit.database import Session
from servicekit.schemas import Cursor, Limit, Page

from auth.access.sensitive_actions import SensitiveAction
from auth.api_keys import introspection, keys, schemas
from auth.routing import auth_router, no_store
from auth.services import PartsOfAuth
from auth.sessions.authorization import sensitive

Manager = Annotated[Principal, require("api_keys:manage")]

router = auth_router("api keys", prefix="/api-keys")
api_keys_internal = APIRouter(
    prefix="/internal/v1/api-keys", tags=["api keys"], dependencies=[Depends(no_store)]
)


@router.post("", status_code=status.HTTP_201_CREATED)
async def make_api_key(
    wanted: schemas.NewApiKey,
    caller: Annotated[Principal, sensitive(SensitiveAction.CREATE_API_KEY)],
    parts: PartsOfAuth,
    session: Session,
) -> schemas.MadeApiKey:
    """Make a key for a machine; its secret is shown this once."""
    return await keys.make(session, parts, caller, wanted)


@router.get("")
async def list_api_keys(
    caller: Manager, session: Session, limit: Limit = 50, cursor: Cursor = None
) -> Page[schemas.ApiKey]:
    """List the tenant's keys, newest first."""
    return await keys.page(session, caller, limit, cursor)


@router.post("/{key_id}/rotate")
async def rotate_api_key(
    key_id: UUID,
    rotation: schemas.Rotation,
    caller: Annotated[Principal, sensitive(SensitiveAction.ROTATE_API_KEY)],
    parts: PartsOfAuth,
    session: Session,
) -> schemas.MadeApiKey:
    """Give a key another secret, which the caller answers for from now on.

    The secret before works until `previous_expires_at`, if who was given it may still hold keys. With
    `overlap_minutes` 0 it ends at once: rotate a leaked key like that.
    """
    return await keys.rotate(session, parts, caller, key_id, rotation)


@router.delete("/{key_id}", status_code=status.HTTP_204_NO_CONTENT)
async def revoke_api_key(
    key_id: UUID,
    caller: Annotated[Principal, sensitive(SensitiveAction.REVOKE_API_KEY)],
    parts: PartsOfAuth,
    session: Session,
) -> None:
    """Revoke a key; no service takes it any more within five seconds."""
    await keys.revoke(session, parts, caller, key_id)


@api_keys_internal.post("/introspect", dependencies=[service_only(SCOPE)])
async def introspect_api_key(asked: schemas.AskedKey, parts: PartsOfAuth) -> Introspection:
    """Tell a service what the key that came to it may do now."""
    return await introspection.introspect(parts, asked.key.get_secret_value(), asked.address)
