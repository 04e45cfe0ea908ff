"""Errors of billing-webhook."""

from http import HTTPStatus

from servicekit.errors import (
    BadRequest,
    Conflict,
    Forbidden,
    NotFound,
    ServiceError,
    Unavailable,
    Unprocessable,
)
from servicekit.idempotency import IdempotencyConflict


class TenantNotFound(NotFound):
    """The tenant does not exist, or is not the caller's."""

    default_detail = "Tenant not found."


class BillingStreamDisabled(NotFound):
    """The installation offers no stream of billing events."""

    default_detail = "The billing stream is turned off. Set ENABLE_BILLING_STREAM=true."


class InvalidEventId(BadRequest):
    """The event id to resume after is not a number."""

    default_detail = "Last-Event-ID (or `after`) must be the number of a billing event."


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


class BudgetNotFound(NotFound):
    """The tenant has no such budget."""

    default_detail = "Budget not found."


class BudgetAlreadyExists(Conflict):
    """There is a budget of this scope, unit and interval."""

    default_detail = "A budget for this scope, unit and interval exists. Change its limit instead."


class TooManyBudgets(Conflict):
    """The tenant has as many budgets as are possible."""

    default_detail = "The tenant has 1000 budgets, and cannot have more. Delete one first."


class ReservationNotFound(NotFound):
    """The run has no such reservation, or its usage is already recorded."""

    default_detail = "Reservation not found. The run's usage may be recorded already."


class ReservationConflict(Conflict):
    """The call was reserved or settled with other amounts."""

    default_detail = "This call was reserved or settled with other amounts."


class SubscriptionReadOnly(ServiceError):
    """A payment is due for longer than the grace period, or the subscription is paused."""

    status = HTTPStatus.PAYMENT_REQUIRED
    default_detail = "The subscription is paused, or a payment is due: no run can start. Resume or pay first."


class FeatureNotFound(Unprocessable):
    """No plan has a feature with this key."""

    default_detail = "No plan has a feature with this key."


class FeatureNotMetered(Unprocessable):
    """The feature is had or not; there is no usage to report."""

    default_detail = "Usage of this feature is not counted."


class DimensionMissing(Unprocessable):
    """The feature counts different values of a dimension that the report does not have."""

    default_detail = "Usage of this feature needs a dimension."


class EntitlementNotFound(NotFound):
    """There is no such feature."""

    default_detail = "Entitlement not found: no plan has a feature with this key."


class GrantNotFound(NotFound):
    """There is no such grant."""

    default_detail = "Grant not found."


class NotEntitled(Forbidden):
    """The tenant's plan does not contain the feature."""

    default_detail = "The plan does not contain this feature. Change the plan to use it."


class TooLate(Unprocessable):
    """The usage occurred too long ago to be billed."""

    default_detail = "`occurred_at` is more than 35 days ago."


class UsageInFuture(Unprocessable):
    """The usage has not occurred yet."""

    default_detail = "`occurred_at` is more than 5 minutes in the future."


class UsageOutsidePeriod(Unprocessable):
    """The usage did not occur in the period that the request names."""

    default_detail = "`occurred_at` is not in the period from `period_start` to `period_end`."


class UsageConflict(Conflict):
    """The idempotency key was used for another record."""

    default_detail = "This idempotency_key was used for other usage. Take a new key for new usage."

    @classmethod
    def code(cls) -> str:
        """Return the code of every conflict of idempotency keys."""
        return IdempotencyConflict.code()


class UsageRecordNotFound(NotFound):
    """The tenant has no such record."""

    default_detail = "Usage record not found."


class UsageAlreadyReversed(Conflict):
    """The record was reversed, or is itself a reversal."""

    default_detail = "The record was already reversed, or is a reversal. Report new usage instead."


class QuotaExceeded(ServiceError):
    """A limit of the plan or of a budget would be exceeded; `feature`, `scope` and `limit` name it."""

    status = HTTPStatus.PAYMENT_REQUIRED
    default_detail = "This exceeds a limit. Raise the budget or change the plan, or wait until it resets."


class QuotaExceededToday(QuotaExceeded):
    """A limit would be exceeded that resets within a day; `Retry-After` says when. The code is the same."""

    status = HTTPStatus.TOO_MANY_REQUESTS
    default_detail = "This exceeds a limit that resets within a day. Try again then, or raise the limit."

    @classmethod
    def code(cls) -> str:
        """Return the code of every exceeded limit."""
        return QuotaExceeded.code()


class DispatchNotFound(NotFound):
    """An operator has selected no dispatch of an event of Stripe."""

    default_detail = "No dispatch matches."


class DispatchAlreadyCompleted(Conflict):
    """The dispatch was processed; processing it again takes a word more."""

    default_detail = "A selected dispatch is completed. Process it again with --force."


class DispatchRunning(Conflict):
    """The dispatch is being processed."""

    default_detail = "A selected dispatch is being processed. Try again in a minute."


class MeterEventNotFound(NotFound):
    """An operator has named no meter event."""

    default_detail = "There is no meter event with this identifier."


class MeterEventSettled(Conflict):
    """The meter event needs no operator."""

    default_detail = "There is nothing to settle."


class MeterEventOutcomeUnknown(Conflict):
    """Stripe's sum does not say whether it counts the meter event."""

    default_detail = "Stripe's sum does not say whether it counts the meter event. Use --outcome."
