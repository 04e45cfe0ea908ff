"""What can go wrong here, beside what can go wrong everywhere."""

from http import HTTPStatus

from servicekit.errors import BadRequest, NotFound, ServiceError, Unavailable, Unprocessable


class TenantNotFound(NotFound):
    """There is no such tenant, as far as this caller may know."""

    default_detail = "There is no such tenant."


class InvalidPeriod(Unprocessable):
    """The period asked for ends before it begins, or is too long."""

    default_detail = "`from` must be before `to`, and at most 400 days before it."


class InvalidSignature(BadRequest):
    """Nobody who knows the webhook's secret has signed this body, or not within the last minutes."""

    default_detail = "The Stripe-Signature header does not fit the body, or is too old."


class InvalidPayload(BadRequest):
    """The body is signed, and is no event of Stripe's."""

    default_detail = "The body is not an event of Stripe's."


class UnsupportedMediaType(ServiceError):
    """The body is of a kind that this route does not read."""

    status = HTTPStatus.UNSUPPORTED_MEDIA_TYPE
    default_detail = "The body must be application/json."


class WebhooksNotConfigured(Unavailable):
    """Without a secret nothing can be verified, so nothing is taken; Stripe will try again for days."""

    default_detail = "STRIPE_WEBHOOK_SECRET is not set, so nothing can be verified."
