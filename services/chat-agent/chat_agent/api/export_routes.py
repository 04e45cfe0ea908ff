"""The HTTP route that exports what is stored of the caller."""

from collections.abc import AsyncIterator
from typing import Any

import orjson
from fastapi import APIRouter
from fastapi.responses import StreamingResponse
from servicekit.auth.tokens import Principal

from chat_agent.api.dependencies import ManagerDep, Reader
from chat_agent.erasure.export import export
from chat_agent.execution.manager import RunManager

EXPORT: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "JSON objects in lines, by `type`: conversation, item, run, attachment, memory, file, "
        "mcp_sign_in.",
        "content": {"application/x-ndjson": {"schema": {"type": "string"}}},
    }
}

router = APIRouter(prefix="/api/v1/export", tags=["export"])


@router.get("", response_class=StreamingResponse, responses=EXPORT)
async def export_own_data(caller: Reader, manager: ManagerDep) -> StreamingResponse:
    """Export what is stored of the caller in the tenant of the token."""
    return await export_response(manager, caller)


async def export_response(manager: RunManager, owner: Principal) -> StreamingResponse:
    """Return an export as lines of JSON; what fails before the first of them is answered with an error."""
    lines = json_lines(export(manager, owner))
    first = await anext(lines, b"")

    async def body() -> AsyncIterator[bytes]:
        yield first
        async for line in lines:
            yield line

    headers = {"Cache-Control": "no-store", "Content-Disposition": 'attachment; filename="export.ndjson"'}
    return StreamingResponse(body(), media_type="application/x-ndjson", headers=headers)


async def json_lines(parts: AsyncIterator[dict[str, Any]]) -> AsyncIterator[bytes]:
    """Yield each part as a line of JSON."""
    async for part in parts:
        yield orjson.dumps(part, option=orjson.OPT_APPEND_NEWLINE)
