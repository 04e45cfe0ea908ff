"""Errors of billing-webhook."""

from http import HTTPStatus

from servicekit.errors import BadRequest, NotFound, ServiceError, Unavailable, Unprocessable


class TenantNotFound(NotFound):
    """The tenant does not exist, or is not the caller's."""

    default_detail = "Tenant not found."


class InvalidPeriod(Unprocessable):
    """The requested period ends before it starts, or is too long."""

    default_detail = "`from` must be before `to`, by at most 400 days."


class InvalidSignature(BadRequest):
    """The body was not signed with the webhook's secret, or not within the last minutes."""

    default_detail = "The Stripe-Signature header does not match the body, or is too old."


class InvalidPayload(BadRequest):
    """The body is signed and is not a Stripe event."""

    default_detail = "The body is not a Stripe event."


class UnsupportedMediaType(ServiceError):
    """The content type of the body is not accepted."""

    status = HTTPStatus.UNSUPPORTED_MEDIA_TYPE
    default_detail = "The body must be application/json."


class WebhooksNotConfigured(Unavailable):
    """Without a secret no event can be verified; Stripe retries for days."""

    default_detail = "Webhooks are not configured. Set STRIPE_WEBHOOK_SECRET."


class BillingDisabled(NotFound):
    """Billing is off in this installation."""

    default_detail = "Billing is not enabled. Set ENABLE_BILLING=true and the STRIPE_ variables to use it."


class StripeNotConfigured(Unavailable):
    """There is no key for Stripe's API."""

    default_detail = "Stripe is not configured. Set STRIPE_SECRET_KEY, or run `acme stripe setup`."
