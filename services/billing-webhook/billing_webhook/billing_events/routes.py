"""The routes of a tenant's billing events."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Header, Query, Request
from fastapi.responses import StreamingResponse
from servicekit.app import ResourcesDep
from servicekit.database import Session
from servicekit.schemas import Cursor, Limit, Page

from billing_webhook.billing_events import queries, rate_limits, schemas, sse
from billing_webhook.billing_events.hub import EventHub
from billing_webhook.billing_events.stream import Stream
from billing_webhook.dependencies import BillingReader, billing_enabled, own_tenant
from billing_webhook.errors import BillingStreamDisabled, InvalidEventId
from billing_webhook.settings import Settings

Types = Annotated[
    list[schemas.EventType],
    Query(alias="type", max_length=20, description="Only events of these types.", default_factory=list),
]

STREAM: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The tenant's events as they happen; `Last-Event-ID` resumes. `reset` says that older "
        "events than `oldest_seq` cannot be replayed: read the current state instead.",
        "content": {
            "text/event-stream": {
                "schema": {
                    "type": "object",
                    "properties": {
                        "id": {"type": "string", "pattern": "^[0-9]+$"},
                        "event": {"type": "string", "examples": ["billing.invoice.paid.v1", "reset"]},
                        "data": {"type": "string", "contentMediaType": "application/json"},
                    },
                }
            }
        },
    }
}

router = APIRouter(prefix="/api/v1/billing", tags=["billing events"], dependencies=[billing_enabled])


def get_resume_position(
    last_event_id: Annotated[
        str | None, Header(description="The id of the last event that was read.")
    ] = None,
    after: Annotated[str | None, Query(description="The same, for clients that cannot set headers.")] = None,
) -> int | None:
    """Return the number of the event to resume after, if there is one; raises InvalidEventId."""
    value = last_event_id or after
    if not value:
        return None
    if not (value.isascii() and value.isdigit() and len(value) <= 18):
        raise InvalidEventId
    return int(value)


def get_hub(_caller: BillingReader, request: Request) -> EventHub:
    """Return the hub of the app that answers; raises BillingStreamDisabled."""
    hub: EventHub | None = request.app.state.hub
    if hub is None:
        raise BillingStreamDisabled
    return hub


@router.get("/stream", response_class=StreamingResponse, responses=STREAM)
async def stream_events(  # noqa: PLR0913, PLR0917  # what FastAPI injects
    caller: BillingReader,
    hub: Annotated[EventHub, Depends(get_hub)],
    resources: ResourcesDep,
    db: Session,
    after: Annotated[int | None, Depends(get_resume_position)],
    types: Types,
) -> StreamingResponse:
    """Stream the events of the caller's tenant, after the last one that was read, or from now on."""
    settings, tenant_id = Settings.of(resources), caller.tenant_id
    assert tenant_id is not None  # noqa: S101  # `require` refuses callers without one
    grant = await rate_limits.admit(resources, settings, caller)
    async with grant.released_on_error():
        is_replayed = settings.enable_billing_stream_replay
        start = await queries.find_start(db, tenant_id, after, is_replayed=is_replayed)
    stream = Stream(resources, settings, hub, caller, tenant_id, types)
    return sse.EventStream(stream.frames(start), grant, settings.billing_stream_write_timeout_seconds)


@router.get("/tenants/{tenant_id}/events", dependencies=[own_tenant])
async def list_events(
    tenant_id: UUID,
    _caller: BillingReader,
    db: Session,
    types: Types,
    limit: Limit = 20,
    cursor: Cursor = None,
) -> Page[schemas.BillingEvent]:
    """List a tenant's billing events, the newest first."""
    return await queries.list_events(db, tenant_id, types, limit, cursor)
