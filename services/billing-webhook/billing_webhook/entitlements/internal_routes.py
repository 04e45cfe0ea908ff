"""Internal HTTP routes of reservations: chat-agent reserves before it calls a model."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Request
from servicekit.auth.dependencies import service_only
from servicekit.database import Session

from billing_webhook import models
from billing_webhook.entitlements import limits, reservations, schemas
from billing_webhook.entitlements.run_limits import RunLimits

SCOPE = "billing:reserve"
Call = Annotated[
    str,
    Path(
        min_length=1,
        max_length=64,
        pattern=r"^[A-Za-z0-9._-]+$",
        description="`start`, or `1.3`: attempt 1, call 3.",
    ),
]

router = APIRouter(
    prefix="/internal/v1/tenants/{tenant_id}", tags=["reservations"], dependencies=[service_only(SCOPE)]
)


def get_run_limits(request: Request) -> RunLimits:
    """Return the limits of runs, as this process reads them."""
    limits: RunLimits = request.app.state.run_limits
    return limits


RunLimitsDep = Annotated[RunLimits, Depends(get_run_limits)]


@router.put("/reservations/{run_id}/calls/{call}", response_model=schemas.Reservation)
async def reserve(  # noqa: PLR0913, PLR0917  # the parts of a request
    tenant_id: UUID,
    run_id: UUID,
    call: Call,
    request: schemas.ReservationRequest,
    run_limits: RunLimitsDep,
    db: Session,
) -> models.Reservation:
    """Reserve what a call of a run may use at most; the same request again has the same answer.

    402 `quota_exceeded`, or 429 where the limit resets within a day, say which limit it would exceed.
    409 when the call was reserved with other amounts.
    """
    return await reservations.reserve(db, run_limits, tenant_id, run_id, call, request)


@router.post("/reservations/{run_id}/calls/{call}/settle", response_model=schemas.Reservation)
async def settle(
    tenant_id: UUID, run_id: UUID, call: Call, settlement: schemas.Settlement, db: Session
) -> models.Reservation:
    """Replace what was reserved with what was used; 0 releases it. `messages` stay unless they are named."""
    return await reservations.settle(db, tenant_id, run_id, call, settlement)


@router.get("/limits")
async def get_limits(tenant_id: UUID, db: Session) -> schemas.Limits:
    """Return whether the tenant's runs need reservations; may be cached for 60 seconds."""
    return await limits.summarise(db, tenant_id)
