"""The route by which operators end sessions."""

from typing import Annotated

from servicekit.auth.tokens import Principal
from servicekit.database import Session as Db

from auth.access.sensitive_actions import SensitiveAction
from auth.routing import auth_router
from auth.services import Services
from auth.sessions import operator_actions
from auth.sessions.authorization import sensitive
from auth.sessions.schemas import SessionsEnded, SessionsToEnd

router = auth_router("sessions")


@router.post("/sessions/end")
async def end_sessions(
    target: SessionsToEnd,
    caller: Annotated[Principal, sensitive(SensitiveAction.END_ANY_SESSIONS)],
    services: Services,
    db: Db,
) -> SessionsEnded:
    """End all sessions of a person, of a tenant, or of everybody (one's own included); for operators."""
    return SessionsEnded(ended=await operator_actions.end(db, services, caller, target))
