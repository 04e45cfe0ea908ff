"""The addresses of the audit log."""

from datetime import UTC, datetime
from typing import Annotated

from fastapi import Depends, Query
from fastapi.responses import StreamingResponse
from pydantic import AwareDatetime, BeforeValidator
from servicekit.auth.dependencies import Caller, require
from servicekit.auth.tokens import Principal
from servicekit.database import Session
from servicekit.errors import BadRequest
from servicekit.schemas import Cursor, Limit, Page

from auth import users
from auth.audit import read
from auth.audit.record import Action
from auth.models import AuditEvent
from auth.routing import auth_router
from auth.services import PartsOfAuth


def written_out(moment: object) -> object:
    """Refuse seconds since 1970, for which pydantic would take a number."""
    if isinstance(moment, str) and "-" not in moment[1:]:
        raise ValueError("not a time of ISO 8601")
    return moment


Auditor = Annotated[Principal, require("audit:read")]
Moment = Annotated[
    AwareDatetime | None, BeforeValidator(written_out), Query(examples=["2026-01-31T00:00:00Z"])
]
Subject = Annotated[str | None, Query(pattern=read.SUBJECT, max_length=160)]

EARLIEST, LATEST = datetime(1970, 1, 1, tzinfo=UTC), datetime(9000, 1, 1, tzinfo=UTC)

router = auth_router("audit")


class BadMoment(BadRequest):
    """A time that no log reaches."""

    default_detail = "Ask for times from 1970 on."


class NdjsonResponse(StreamingResponse):
    """One JSON object a line."""

    media_type = "application/x-ndjson"


def wanted(
    action: Action | None = None, subject: Subject = None, since: Moment = None, until: Moment = None
) -> read.Wanted:
    """Take the filters of a request; `since` is included, `until` is not."""
    if any(moment and not EARLIEST <= moment <= LATEST for moment in (since, until)):
        raise BadMoment
    return read.Wanted(action=action, subject=subject, since=since, until=until)


Wanted = Annotated[read.Wanted, Depends(wanted)]


@router.get("/audit")
async def read_log(
    caller: Auditor, session: Session, asked: Wanted, limit: Limit = 50, cursor: Cursor = None
) -> Page[read.Event]:
    """Read the tenant's audit log, the newest first."""
    own = AuditEvent.tenant_id == caller.tenant_id
    return await read.page(session, limit, cursor, own, *asked.conditions())


@router.get("/audit/export", response_class=NdjsonResponse)
async def export_log(caller: Auditor, parts: PartsOfAuth, asked: Wanted) -> NdjsonResponse:
    """Read the tenant's whole log, an event a line, the oldest first.

    After 50,000 events it ends; ask again with `since` as the time of the last one.
    """
    own = AuditEvent.tenant_id == caller.tenant_id
    return NdjsonResponse(read.export(parts.database, own, *asked.conditions()))


@router.get("/me/audit")
async def read_own_log(
    caller: Caller, session: Session, limit: Limit = 50, cursor: Cursor = None
) -> Page[read.Event]:
    """Read what happened to oneself, in every tenant, the newest first."""
    users.person(caller)
    return await read.page(session, limit, cursor, AuditEvent.subject == caller.subject)
