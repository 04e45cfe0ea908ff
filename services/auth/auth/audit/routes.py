"""The routes of the audit log."""

from datetime import UTC, datetime
from typing import Annotated

from fastapi import Depends, Query
from fastapi.responses import StreamingResponse
from servicekit.auth.dependencies import Caller, require
from servicekit.auth.tokens import Principal
from servicekit.database import Session as Db
from servicekit.errors import BadRequest
from servicekit.schemas import Cursor, Limit, Page, Time

from auth import users
from auth.audit import read
from auth.audit.record import Action
from auth.models import AuditEvent
from auth.routing import auth_router
from auth.services import Services

Auditor = Annotated[Principal, require("audit:read")]
Moment = Annotated[Time | None, Query(examples=["2026-01-31T00:00:00Z"])]
Subject = Annotated[str | None, Query(pattern=read.SUBJECT, max_length=160)]

EARLIEST, LATEST = datetime(1970, 1, 1, tzinfo=UTC), datetime(9000, 1, 1, tzinfo=UTC)

router = auth_router("audit")


class InvalidTimestamp(BadRequest):
    """The time is outside the range that a log can have."""

    default_detail = "Timestamps must lie between 1970 and 9000."


class NdjsonResponse(StreamingResponse):
    """One JSON object a line."""

    media_type = "application/x-ndjson"


def parse_filter(
    action: Action | read.ReceivedAction | None = None,
    subject: Subject = None,
    since: Moment = None,
    until: Moment = None,
) -> read.AuditFilter:
    """Parse the filters of a request; `since` is included, `until` is not."""
    if any(moment and not EARLIEST <= moment <= LATEST for moment in (since, until)):
        raise InvalidTimestamp
    return read.AuditFilter(action=action, subject=subject, since=since, until=until)


Filters = Annotated[read.AuditFilter, Depends(parse_filter)]


@router.get("/audit")
async def list_audit_events(
    caller: Auditor, db: Db, filters: Filters, limit: Limit = 50, cursor: Cursor = None
) -> Page[read.Event]:
    """Read the tenant's audit log, newest first."""
    own = AuditEvent.tenant_id == caller.tenant_id
    return await read.page(db, limit, cursor, own, *filters.conditions())


@router.get("/audit/export", response_class=NdjsonResponse)
async def export_audit_log(caller: Auditor, services: Services, filters: Filters) -> NdjsonResponse:
    """Export the tenant's audit log, one event a line, oldest first.

    After 50,000 events it ends; ask again with `since` as the time of the last one.
    """
    own = AuditEvent.tenant_id == caller.tenant_id
    return NdjsonResponse(read.export(services.database, own, *filters.conditions()))


@router.get("/me/audit")
async def list_own_audit_events(
    caller: Caller, db: Db, limit: Limit = 50, cursor: Cursor = None
) -> Page[read.Event]:
    """Read one's own audit events in all tenants, newest first."""
    users.user_id_of(caller)
    return await read.page(db, limit, cursor, AuditEvent.subject == caller.subject)
