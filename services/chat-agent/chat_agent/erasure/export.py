"""Exports what is stored of a person, an application or its end user in a tenant."""

import asyncio
import base64
from collections.abc import AsyncIterator
from typing import Any

from pydantic import Field
from servicekit.auth.tokens import Principal
from sqlalchemy import select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession

from chat_agent.attachments import files
from chat_agent.attachments import store as attachments
from chat_agent.attachments.uploads import PREFIX
from chat_agent.erasure.end_users import is_of
from chat_agent.execution.manager import RunManager
from chat_agent.feedback_schemas import RunFeedback
from chat_agent.mcp_servers import retention as mcp_sign_ins
from chat_agent.memory import erasure as memories
from chat_agent.memory.store import Owner
from chat_agent.models import Run
from chat_agent.runs import approvals, feedback, tool_calls
from chat_agent.runs.schemas import Approval, RunDetail, ToolCallRecord

PAGE_SIZE = 100


class ExportedRun(RunDetail):
    """A run in an export."""

    called_tools: list[ToolCallRecord] = Field(default_factory=list)
    feedback: RunFeedback | None = None


async def export(manager: RunManager, owner: Principal) -> AsyncIterator[dict[str, Any]]:
    """Yield what is stored of an owner: conversations with items, runs, files, memories, sign-ins."""
    async for part in manager.conversation_client(owner).export():
        yield part
    async for run in runs_of(manager, owner):
        yield {"type": "run", **run.model_dump(mode="json")}
    async for attachment in attachments_of(manager, owner):
        yield attachment
    async for memory in memories.export(manager.database, Owner.of(owner)):
        yield memory
    async for file in files_of(manager, owner):
        yield file
    async for sign_in in mcp_sign_ins.export(manager.database, owner.tenant_id, owner.user_id):
        yield sign_in


async def attachments_of(manager: RunManager, owner: Principal) -> AsyncIterator[dict[str, Any]]:
    """Yield the images, files and audio of an owner's runs, with their content."""
    after = None
    while True:
        async with manager.database.begin() as db:
            attachment = await attachments.find_next(db, is_of(owner), after)
        if attachment is None:
            return
        after = (attachment.run_id, attachment.sha256)
        yield {
            "type": "attachment",
            "run_id": str(attachment.run_id),
            "file_id": f"{PREFIX}{attachment.sha256}",
            "media_type": attachment.media_type,
            "data": await encoded(attachment.content),
        }


async def files_of(manager: RunManager, owner: Principal) -> AsyncIterator[dict[str, Any]]:
    """Yield the uploaded files of an owner, with their content."""
    after = None
    while True:
        async with manager.database.begin() as db:
            found = await files.find_next(db, owner, after)
        if found is None:
            return
        file, content = found
        after = file.id
        yield {
            "type": "file",
            "id": files.name_of(file.id),
            "filename": file.filename,
            "purpose": file.purpose,
            "media_type": file.media_type,
            "created_at": file.created_at.isoformat(),
            "data": await encoded(content),
        }


async def encoded(content: bytes) -> str:
    """Return content in base64."""
    return (await asyncio.to_thread(base64.b64encode, content)).decode()


async def exported(session: AsyncSession, run: Run) -> ExportedRun:
    """Return a run as it is exported."""
    detail = ExportedRun.model_validate(run, from_attributes=True)
    requests = await approvals.list_for_run(session, run.id)
    detail.approvals = [Approval.model_validate(one) for one in requests]
    detail.called_tools = await tool_calls.list_for_run(session, run)
    detail.feedback = await feedback.find(session, run.id)
    return detail


async def runs_of(manager: RunManager, owner: Principal) -> AsyncIterator[ExportedRun]:
    """Yield the runs of an owner, oldest first, with their approvals, calls of tools and feedback."""
    order = tuple_(Run.created_at, Run.id)
    page = select(Run).where(is_of(owner)).order_by(Run.created_at, Run.id).limit(PAGE_SIZE)
    query = page
    while True:
        async with manager.database.begin() as db:
            rows = (await db.scalars(query)).all()
            details = [await exported(db, run) for run in rows]
        for detail in details:
            yield detail
        if len(rows) < PAGE_SIZE:
            return
        query = page.where(order > tuple_(rows[-1].created_at, rows[-1].id))
