"""The route that Stripe calls."""

from typing import Annotated

from fastapi import APIRouter, Depends, Header, Request, status
from servicekit.auth.dependencies import public
from servicekit.database import Session

from billing_webhook.errors import UnsupportedMediaType
from billing_webhook.stripe_events import receive, schemas

router = APIRouter(
    prefix="/webhooks", tags=["webhooks"], dependencies=[public], max_body_size=receive.MAX_BODY_BYTES
)


async def verified_event(
    request: Request,
    signature: Annotated[str, Header(alias="Stripe-Signature", description="Stripe's `t=…,v1=…`.")] = "",
) -> receive.VerifiedEvent:
    """Verify the signature of the raw body."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise UnsupportedMediaType
    secrets = request.app.state.resources.settings.webhook_secrets
    return receive.verify(await request.body(), signature, secrets)


@router.post(
    "/stripe",
    status_code=status.HTTP_202_ACCEPTED,
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": {"type": "object", "description": "A Stripe event."}}},
        }
    },
)
async def receive_stripe_event(
    event: Annotated[receive.VerifiedEvent, Depends(verified_event)], db: Session
) -> schemas.Receipt:
    """Store an event of Stripe for later processing."""
    return schemas.Receipt(duplicate=not await receive.store(db, event))
