"""HTTP routes of one's own sessions."""

from typing import Annotated
from uuid import UUID

from fastapi import status
from servicekit import schemas as wire
from servicekit.auth.dependencies import Caller, public
from servicekit.auth.tokens import Principal
from servicekit.database import Session as Db

from auth import schemas
from auth.access.sensitive_actions import SensitiveAction
from auth.routing import auth_router
from auth.security.rate_limits import rate_limited
from auth.services import Services
from auth.sessions import refresh, sessions
from auth.sessions.authorization import sensitive, sensitive_unless_own_session

router = auth_router("sessions")


@router.post("/refresh", dependencies=[public, rate_limited("refresh")])
async def refresh_session(request: schemas.RefreshRequest, services: Services) -> schemas.TokenResponse:
    """Exchange the refresh token for a new one, with a new access token."""
    token = request.refresh_token.get_secret_value()
    await services.rates.check_subject("refresh", token)
    return await refresh.refresh(services, token, request.device)


@router.post("/logout", status_code=status.HTTP_204_NO_CONTENT, dependencies=[public])
async def end_session(request: schemas.LogoutRequest, services: Services, db: Db) -> None:
    """End the session of a refresh token; succeed if it has ended already."""
    await sessions.sign_out(db, services, request.refresh_token.get_secret_value())


@router.post("/logout/all", status_code=status.HTTP_204_NO_CONTENT)
async def end_all_sessions(
    caller: Annotated[Principal, sensitive(SensitiveAction.END_ALL_SESSIONS)], db: Db
) -> None:
    """End all of one's sessions, on every device and in every tenant; needs a recent proof."""
    await sessions.sign_out_everywhere(db, caller)


@router.post("/logout/others", status_code=status.HTTP_204_NO_CONTENT)
async def end_other_sessions(
    caller: Annotated[Principal, sensitive(SensitiveAction.END_OTHER_SESSIONS)], db: Db
) -> None:
    """End all of one's sessions but the current one; needs a recent proof."""
    await sessions.sign_out_others(db, caller)


@router.get("/sessions")
async def list_sessions(caller: Caller, db: Db, services: Services) -> wire.Page[schemas.OwnSession]:
    """List one's live sessions, the last used first, in one page."""
    return wire.Page(items=await sessions.list_own(db, services, caller))


@router.delete("/sessions/{session_id}", status_code=status.HTTP_204_NO_CONTENT)
async def end_one_session(
    session_id: UUID,
    caller: Annotated[Principal, sensitive_unless_own_session(SensitiveAction.END_OTHER_SESSION)],
    db: Db,
) -> None:
    """End one of one's own sessions, on whatever device; a recent proof is needed for any but the current."""
    await sessions.end_one(db, caller, session_id)


@router.get("/me")
async def get_me(caller: Caller, db: Db) -> schemas.Me:
    """Return who the token belongs to."""
    return await sessions.me(db, caller)
