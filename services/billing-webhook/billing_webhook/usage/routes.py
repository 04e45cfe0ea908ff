"""HTTP routes of usage."""

from datetime import UTC, datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Response, status
from servicekit.database import Session
from servicekit.idempotency import REPLAYED
from servicekit.schemas import Cursor, Limit, Page

from billing_webhook import models
from billing_webhook.audit import Actor
from billing_webhook.dependencies import BillingManager, BillingReader, billing_enabled, own_tenant
from billing_webhook.entitlements.periods import Period
from billing_webhook.entitlements.quotas import Quota
from billing_webhook.quantities import to_text
from billing_webhook.usage import ledger, reports, schemas, totals

QUOTA_WARNING = "X-Quota-Warning"

router = APIRouter(prefix="/api/v1/billing/tenants/{tenant_id}", tags=["billing"], dependencies=[own_tenant])


def get_period(
    start: Annotated[
        schemas.UtcDatetime | None, Query(alias="from", description="Start of the period (UTC), inclusive.")
    ] = None,
    end: Annotated[
        schemas.UtcDatetime | None, Query(alias="to", description="End of the period (UTC), exclusive.")
    ] = None,
) -> Period:
    """Return the period of the query; by default, this calendar month."""
    return ledger.requested_period(start, end)


@router.get("/usage")
async def get_tenant_usage(
    tenant_id: UUID,
    _caller: BillingReader,
    db: Session,
    period: Annotated[Period, Depends(get_period)],
) -> schemas.TenantUsage:
    """Sum the usage of a tenant's runs, in total and by model."""
    return await ledger.summarise(db, tenant_id, period)


@router.post(
    "/usage",
    status_code=status.HTTP_201_CREATED,
    response_model=schemas.UsageRecord,
    responses={200: {"model": schemas.UsageRecord, "description": "An earlier request has recorded it."}},
    dependencies=[billing_enabled],
)
async def report_usage(
    tenant_id: UUID, usage: schemas.UsageReport, caller: BillingManager, db: Session, response: Response
) -> models.UsageRecord:
    """Record usage of a feature, once for each `idempotency_key`.

    The same key with the same body again is answered with 200, the first record and `Idempotent-Replayed`;
    with another body it is a conflict. `X-Quota-Warning` names the soft limits that are exceeded.
    """
    recorded = await reports.report(db, Actor.of(caller), tenant_id, usage)
    mark_replay(response, recorded)
    if recorded.exceeded:
        response.headers[QUOTA_WARNING] = ", ".join(map(describe_excess, recorded.exceeded))
    return recorded.record


@router.post("/usage/batch", max_body_size=schemas.MAX_BATCH_BODY, dependencies=[billing_enabled])
async def report_usage_batch(
    tenant_id: UUID, batch: schemas.UsageBatch, caller: BillingManager, db: Session
) -> schemas.UsageResults:
    """Record up to 1,000 reports; each is recorded, replayed or refused by itself."""
    return await reports.report_batch(db, Actor.of(caller), tenant_id, batch)


@router.post(
    "/usage/records/{record_id}/reverse",
    status_code=status.HTTP_201_CREATED,
    response_model=schemas.UsageRecord,
    dependencies=[billing_enabled],
)
async def reverse_usage(  # noqa: PLR0913, PLR0917  # the parts of a request
    tenant_id: UUID,
    record_id: UUID,
    reversal: schemas.Reversal,
    caller: BillingManager,
    db: Session,
    response: Response,
) -> models.UsageRecord:
    """Reverse a record by one with the negative quantity; to correct it, report the right quantity anew."""
    recorded = await reports.reverse(db, Actor.of(caller), tenant_id, record_id, reversal)
    mark_replay(response, recorded)
    return recorded.record


def describe_excess(quota: Quota) -> str:
    """Describe a soft limit that is exceeded, for a header."""
    resets_at = quota.period.end.isoformat().replace("+00:00", "Z")
    return f'{quota.feature};scope={quota.scope};limit={to_text(quota.limit)};resets_at="{resets_at}"'


def mark_replay(response: Response, recorded: reports.Recorded) -> None:
    """Mark in an answer that an earlier request has had the effect."""
    if recorded.is_replay:
        response.status_code = status.HTTP_200_OK
        response.headers[REPLAYED] = "true"


@router.get("/usage/totals", dependencies=[billing_enabled])
async def get_usage_totals(
    tenant_id: UUID,
    _caller: BillingReader,
    db: Session,
    at: Annotated[
        schemas.UtcDatetime | None, Query(description="A time in the period; by default, now.")
    ] = None,
) -> schemas.UsageTotals:
    """Return what was used of each feature in a billing period."""
    return await totals.summarise(db, tenant_id, at or datetime.now(UTC))


@router.get("/usage/records", dependencies=[billing_enabled])
async def list_usage_records(
    tenant_id: UUID,
    _caller: BillingReader,
    db: Session,
    feature_key: schemas.FeatureKey | None = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> Page[schemas.UsageRecord]:
    """List the records of the ledger, the newest first."""
    return await totals.list_records(db, tenant_id, feature_key, cursor, limit)
