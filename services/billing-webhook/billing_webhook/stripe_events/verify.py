"""Verification of webhooks: the signature over the exact bytes, then the shape of the event."""

import re
import time

from pydantic import BaseModel, ValidationError
from stripe import SignatureVerificationError, WebhookSignature

from billing_webhook.errors import InvalidPayload, InvalidSignature, WebhooksNotConfigured
from billing_webhook.settings import Settings
from billing_webhook.stripe_events.envelope import Envelope

SIGNATURE_TIMESTAMP = re.compile(r"(?:^|,)t=([0-9]{1,12})(?:,|$)")
SIGNATURE = re.compile(r"(?<=v1=)[0-9a-f]{64}(?=,|$)")
# One for each secret of the endpoint, of which Stripe has two while it is rotated.
MAX_SIGNATURES = 5


class VerifiedEvent(BaseModel):
    """A verified event, the bytes that were signed, when, and the signatures over both."""

    envelope: Envelope
    body: bytes
    signed_at: int
    signatures: list[str]


def verify(body: bytes, signature: str, settings: Settings) -> VerifiedEvent:
    """Verify a webhook's body.

    Raise WebhooksNotConfigured, InvalidSignature or InvalidPayload.
    """
    secrets, tolerance = settings.webhook_secrets, settings.stripe_webhook_tolerance_seconds
    if not secrets:
        raise WebhooksNotConfigured
    signed_at = timestamp_of(signature)
    if abs(time.time() - signed_at) > tolerance:
        raise InvalidSignature
    if not any(is_signed(body, signature, secret, tolerance) for secret in secrets):
        raise InvalidSignature
    try:
        envelope = Envelope.model_validate_json(body)
    except ValidationError:
        raise InvalidPayload from None
    signatures = SIGNATURE.findall(signature)[:MAX_SIGNATURES]
    return VerifiedEvent(envelope=envelope, body=body, signed_at=signed_at, signatures=signatures)


def timestamp_of(signature: str) -> int:
    """Return when a signature was made; raises InvalidSignature.

    Stripe's library accepts timestamps of the future, and compares signatures as text, which fails on
    anything but ASCII.
    """
    timestamp = SIGNATURE_TIMESTAMP.search(signature) if signature.isascii() else None
    if timestamp is None:
        raise InvalidSignature
    return int(timestamp[1])


def is_signed(body: bytes, signature: str, secret: str, tolerance: int) -> bool:
    """Return whether one of the signatures in the header was made with this secret."""
    try:
        WebhookSignature.verify_header(body, signature, secret, tolerance)
    except SignatureVerificationError:
        return False
    except UnicodeDecodeError:
        raise InvalidPayload from None
    return True
