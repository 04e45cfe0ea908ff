"""The address where operators end sessions."""

from fastapi import APIRouter, Depends
from servicekit.database import Session

from auth.manners import no_store
from auth.origin import origin
from auth.parts import PartsOfAuth
from auth.sessions import ending
from auth.sessions.schemas import SessionsEnded, SessionsToEnd
from auth.step_up import fresh
from auth.tenants.signups import Operator

operator_sessions_api = APIRouter(
    prefix="/api/v1/auth", tags=["sessions"], dependencies=[Depends(no_store), Depends(origin)]
)


@operator_sessions_api.post("/sessions/end", dependencies=[fresh()])
async def end_sessions(
    target: SessionsToEnd, caller: Operator, parts: PartsOfAuth, session: Session
) -> SessionsEnded:
    """End all sessions of a person, of a tenant, or of everybody (one's own included); for operators."""
    return SessionsEnded(ended=await ending.end(session, parts, caller, target))
