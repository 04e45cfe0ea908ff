"""The HTTP routes that export and erase the end users of an application."""

from typing import Annotated

from fastapi import APIRouter, Query, status
from fastapi.responses import StreamingResponse
from servicekit.auth.dependencies import require
from servicekit.auth.tokens import Principal

from chat_agent.api.dependencies import ManagerDep, Reader
from chat_agent.api.export_routes import EXPORT, export_response
from chat_agent.erasure import end_users

Deleter = Annotated[Principal, require("conversations:delete")]
EndUserName = Annotated[str, Query(max_length=128, description="The name of the end user.")]
Application = Annotated[
    str | None,
    Query(
        pattern=r"^(ak|sa)\.[A-Za-z0-9._-]{1,125}$",
        description="The client id of the application, for owners and admins; without it the caller.",
    ),
]
router = APIRouter(prefix="/api/v1/end-users", tags=["end users"])


@router.get("", response_class=StreamingResponse, responses=EXPORT)
async def export_end_user(
    name: EndUserName, caller: Reader, manager: ManagerDep, application: Application = None
) -> StreamingResponse:
    """Export what is stored of an end user: conversations with items, runs, files, memories, sign-ins."""
    return await export_response(manager, end_users.end_user_of(caller, name, application))


@router.delete("", status_code=status.HTTP_204_NO_CONTENT)
async def erase_end_user(
    name: EndUserName, caller: Deleter, manager: ManagerDep, application: Application = None
) -> None:
    """Erase an end user: runs stop, what is stored is deleted, the usage becomes anonymous."""
    await end_users.erase(manager, end_users.end_user_of(caller, name, application))
