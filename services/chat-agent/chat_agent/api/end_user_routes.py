"""The HTTP routes that export and erase the end users of an application."""

from collections.abc import AsyncIterator
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Query, status
from fastapi.responses import StreamingResponse
from servicekit.auth.dependencies import require
from servicekit.auth.tokens import Principal

from chat_agent.api.dependencies import ManagerDep, Reader
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
EXPORT: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "JSON objects in lines, by `type`: conversation, item, run, attachment, file, memory.",
        "content": {"application/x-ndjson": {"schema": {"type": "string"}}},
    }
}

router = APIRouter(prefix="/api/v1/end-users", tags=["end users"])


@router.get("", response_class=StreamingResponse, responses=EXPORT)
async def export_end_user(
    name: EndUserName, caller: Reader, manager: ManagerDep, application: Application = None
) -> StreamingResponse:
    """Export what is stored of an end user: conversations with items, runs, files, memories."""
    lines = json_lines(end_users.export(manager, end_users.end_user_of(caller, name, application)))
    # What fails at once is answered with an error.
    first = await anext(lines, b"")

    async def body() -> AsyncIterator[bytes]:
        yield first
        async for line in lines:
            yield line

    return StreamingResponse(body(), media_type="application/x-ndjson", headers={"Cache-Control": "no-store"})


@router.delete("", status_code=status.HTTP_204_NO_CONTENT)
async def erase_end_user(
    name: EndUserName, caller: Deleter, manager: ManagerDep, application: Application = None
) -> None:
    """Erase an end user: runs stop, what is stored is deleted, the usage becomes anonymous."""
    await end_users.erase(manager, end_users.end_user_of(caller, name, application))


async def json_lines(parts: AsyncIterator[dict[str, Any]]) -> AsyncIterator[bytes]:
    """Yield each part as a line of JSON."""
    async for part in parts:
        yield orjson.dumps(part, option=orjson.OPT_APPEND_NEWLINE)
