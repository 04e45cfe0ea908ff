"""The route that Stripe calls."""

from typing import Annotated

from fastapi import APIRouter, Depends, Header, Request, status
from servicekit.app import ResourcesDep
from servicekit.auth.dependencies import public
from servicekit.client_ip import client_ip, network_of
from servicekit.database import Session
from servicekit.errors import ServiceError
from servicekit.rate_limits import Rate
from servicekit.request_limits import KIB

from billing_webhook.errors import UnsupportedMediaType
from billing_webhook.settings import Settings
from billing_webhook.stripe_events import metrics, receive, schemas
from billing_webhook.stripe_events.verify import VerifiedEvent, verify

MAX_BODY_BYTES = 256 * KIB
STRIPE_EVENT = {"schema": {"type": "object", "description": "A Stripe event."}}

router = APIRouter(prefix="/webhooks", tags=["webhooks"], dependencies=[public], max_body_size=MAX_BODY_BYTES)


def billing_settings(resources: ResourcesDep) -> Settings:
    """Return the settings of this service."""
    return Settings.of(resources)


BillingSettings = Annotated[Settings, Depends(billing_settings)]


async def verified_event(
    request: Request,
    resources: ResourcesDep,
    settings: BillingSettings,
    signature: Annotated[str, Header(alias="Stripe-Signature", description="Stripe's `t=…,v1=…`.")] = "",
) -> VerifiedEvent:
    """Verify the signature of the raw body; raises RateLimited when an address calls too often."""
    try:
        address = network_of(client_ip(request))
        await resources.rates.admit(Rate(f"stripe-webhooks:{address}", settings.stripe_webhooks_per_minute))
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            raise UnsupportedMediaType
        return verify(await request.body(), signature, settings)
    except ServiceError as error:
        metrics.REJECTED.labels(error.code()).inc()
        raise


@router.post(
    "/stripe",
    status_code=status.HTTP_202_ACCEPTED,
    openapi_extra={"requestBody": {"required": True, "content": {"application/json": STRIPE_EVENT}}},
)
async def receive_stripe_event(
    event: Annotated[VerifiedEvent, Depends(verified_event)], db: Session, settings: BillingSettings
) -> schemas.Receipt:
    """Store an event of Stripe for later processing."""
    return schemas.Receipt(duplicate=not await receive.receive(db, event, settings))
