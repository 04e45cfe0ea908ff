"""Events of Stripe: verified by their signature, and stored before they are acknowledged."""

import logging
import re
import time
from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from stripe import SignatureVerificationError, WebhookSignature

from billing_webhook.errors import InvalidPayload, InvalidSignature, WebhooksNotConfigured
from billing_webhook.models import StripeEvent

logger = logging.getLogger(__name__)

MAX_BODY_BYTES = 256 * 1024
TOLERANCE_SECONDS = 300
SIGNATURE_TIMESTAMP = re.compile(r"(?:^|,)t=([0-9]{1,12})(?:,|$)")


class Envelope(BaseModel):
    """The fields that every event has, whether it contains an object (snapshot) or refers to one (thin).

    docs.stripe.com/api/events/object and docs.stripe.com/api/v2/core/events/object
    """

    model_config = ConfigDict(hide_input_in_errors=True)

    object: Literal["event", "v2.core.event"]
    id: Annotated[str, Field(pattern=r"^evt_[A-Za-z0-9_]+$", max_length=255)]
    type: Annotated[str, Field(pattern=r"^[a-z0-9_.]+$", max_length=255)]
    api_version: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]+$", max_length=64)] | None = None
    livemode: bool
    created: Annotated[
        AwareDatetime, Field(ge=datetime(2010, 1, 1, tzinfo=UTC), lt=datetime(2200, 1, 1, tzinfo=UTC))
    ]


class VerifiedEvent(BaseModel):
    """A verified event and the bytes that were signed."""

    envelope: Envelope
    body: bytes


def verify(body: bytes, signature: str, secrets: list[str]) -> VerifiedEvent:
    """Verify a webhook's body.

    Raise WebhooksNotConfigured, InvalidSignature or InvalidPayload.
    """
    if not secrets:
        raise WebhooksNotConfigured
    # Stripe's library compares signatures as text, which fails on anything but ASCII.
    is_valid = signature.isascii() and is_recent(signature)
    if not is_valid or not any(is_signed(body, signature, secret) for secret in secrets):
        raise InvalidSignature
    try:
        return VerifiedEvent(envelope=Envelope.model_validate_json(body), body=body)
    except ValidationError:
        raise InvalidPayload from None


def is_recent(signature: str) -> bool:
    """Return whether the signature is recent; Stripe's library accepts timestamps of the future."""
    timestamp = SIGNATURE_TIMESTAMP.search(signature)
    return timestamp is not None and abs(time.time() - int(timestamp[1])) <= TOLERANCE_SECONDS


def is_signed(body: bytes, signature: str, secret: str) -> bool:
    """Return whether one of the signatures in the header was made with this secret."""
    try:
        WebhookSignature.verify_header(body, signature, secret, TOLERANCE_SECONDS)
    except SignatureVerificationError:
        return False
    except UnicodeDecodeError:
        raise InvalidPayload from None
    return True


async def store(db: AsyncSession, verified: VerifiedEvent) -> bool:
    """Store an event, and return whether it is new."""
    event = verified.envelope
    event_id = await db.scalar(
        insert(StripeEvent)
        .values(**event.model_dump(exclude={"object"}), payload=verified.body)
        .on_conflict_do_nothing()
        .returning(StripeEvent.id)
    )
    is_new = event_id is not None
    logger.info("stripe event", extra={"event_id": event.id, "type": event.type, "duplicate": not is_new})
    return is_new
