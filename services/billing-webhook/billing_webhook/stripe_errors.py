"""Errors of Stripe as problems that say what happened; their texts go to the log without secrets."""

import logging
from http import HTTPStatus
from typing import ClassVar

import stripe
from servicekit.errors import ServiceError, Unavailable

logger = logging.getLogger(__name__)

RETRY_SECONDS = 5
# Stripe may have done what was asked, or may do it yet.
INDETERMINATE = (stripe.APIConnectionError, stripe.APIError, stripe.RateLimitError, stripe.IdempotencyError)


class PaymentMethodMissing(ServiceError):
    """The customer has no payment method that could be charged."""

    status: ClassVar[int] = HTTPStatus.PAYMENT_REQUIRED
    default_detail = "There is no payment method. Add one by a checkout session or in the portal."


class PaymentDeclined(ServiceError):
    """The payment was declined; `decline_code` says why, in Stripe's words."""

    status: ClassVar[int] = HTTPStatus.PAYMENT_REQUIRED
    default_detail = "The payment was declined. Use another payment method."


class StripeUnavailable(Unavailable):
    """Stripe does not answer, or asks for patience; what was begun is finished as soon as it answers."""

    default_detail = "Stripe does not answer. Try again shortly."


class StripeRequestRejected(ServiceError):
    """Stripe does not accept our request; the log says why."""

    status: ClassVar[int] = HTTPStatus.BAD_GATEWAY
    default_detail = "Stripe did not accept the request. Tell us the request id."


def to_problem(error: stripe.StripeError) -> ServiceError:
    """Return the problem for an error of Stripe."""
    logger.warning("stripe refused", extra=facts(error))
    if isinstance(error, stripe.CardError):
        decline_code = getattr(error.error, "decline_code", None)
        return PaymentDeclined(error.user_message or "", stripe_code=error.code, decline_code=decline_code)
    if isinstance(error, stripe.InvalidRequestError):
        missing = error.code == "resource_missing" and "payment" in str(error.user_message).lower()
        return PaymentMethodMissing() if missing else StripeRequestRejected(stripe_code=error.code)
    if isinstance(error, INDETERMINATE):
        return StripeUnavailable(retry_after=RETRY_SECONDS)
    return StripeRequestRejected()


def facts(error: stripe.StripeError) -> dict[str, object]:
    """Return what may be logged of an error: not its text, which may quote a key."""
    return {
        "error": type(error).__name__,
        "stripe_status": error.http_status,
        "stripe_code": error.code,
        "stripe_param": getattr(error, "param", None),
        "stripe_request_id": error.request_id,
    }
