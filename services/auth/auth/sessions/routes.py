"""HTTP routes of one's own sessions."""

from typing import Annotated
from uuid import UUID

from fastapi import status
from servicekit import schemas as wire
from servicekit.auth.dependencies import Caller, public
from servicekit.auth.tokens import Principal
from servicekit.database import Session

from auth import schemas
from auth.access.sensitive_actions import SensitiveAction
from auth.routing import auth_router
from auth.security.rate_limits import limited
from auth.services import PartsOfAuth
from auth.sessions import refresh, sessions
from auth.sessions.authorization import sensitive, sensitive_unless_own_session

router = auth_router("sessions")


@router.post("/refresh", dependencies=[public, limited("refresh")])
async def continue_session(held: schemas.Refreshing, parts: PartsOfAuth) -> schemas.SessionBundle:
    """Exchange the refresh token for a new one, with a new access token."""
    token = held.refresh_token.get_secret_value()
    await parts.rates.of_subject("refresh", token)
    return await refresh.refresh(parts, token, held.device)


@router.post("/logout", status_code=status.HTTP_204_NO_CONTENT, dependencies=[public])
async def end_session(held: schemas.Refresh, parts: PartsOfAuth, session: Session) -> None:
    """End a session, known by its refresh token; also when it is over already."""
    await sessions.sign_out(session, parts, held.refresh_token.get_secret_value())


@router.post("/logout/all", status_code=status.HTTP_204_NO_CONTENT)
async def end_all_sessions(
    caller: Annotated[Principal, sensitive(SensitiveAction.END_ALL_SESSIONS)], session: Session
) -> None:
    """End all of one's sessions, on every device and in every tenant; needs a recent proof."""
    await sessions.sign_out_everywhere(session, caller)


@router.post("/logout/others", status_code=status.HTTP_204_NO_CONTENT)
async def end_other_sessions(
    caller: Annotated[Principal, sensitive(SensitiveAction.END_OTHER_SESSIONS)], session: Session
) -> None:
    """End all of one's sessions but this one; needs a recent proof."""
    await sessions.sign_out_others(session, caller)


@router.get("/sessions")
async def list_sessions(
    caller: Caller, session: Session, parts: PartsOfAuth
) -> wire.Page[schemas.KnownSession]:
    """List one's own sessions that go on, the last used first; there is one page of them."""
    return wire.Page(items=await sessions.list_own(session, parts, caller))


@router.delete("/sessions/{session_id}", status_code=status.HTTP_204_NO_CONTENT)
async def end_one_session(
    session_id: UUID,
    caller: Annotated[Principal, sensitive_unless_own_session(SensitiveAction.END_OTHER_SESSION)],
    session: Session,
) -> None:
    """End one of one's own sessions, on whatever device; a recent proof is needed for any but the current."""
    await sessions.end_one(session, caller, session_id)


@router.get("/me")
async def who_am_i(caller: Caller, session: Session) -> schemas.Me:
    """Tell who the token belongs to."""
    return await sessions.me(session, caller)
