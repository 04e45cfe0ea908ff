"""Errors of subscriptions."""

from servicekit.errors import Conflict, Forbidden, NotFound, Unauthenticated, Unavailable, Unprocessable


class PlanNotFound(Unprocessable):
    """There is no paid plan with this code."""

    default_detail = "There is no paid plan with this code; GET /api/v1/billing/plans lists them."


class SubscriptionNotFound(NotFound):
    """The tenant has no paid subscription."""

    default_detail = "The tenant has no paid subscription. Start one first."


class SubscriptionAlreadyExists(Conflict):
    """The tenant has a paid subscription already."""

    default_detail = "The tenant has a subscription already. Change it with PATCH."


class SubscriptionCommandInProgress(Conflict):
    """Another command of the tenant has not been finished."""

    default_detail = "Another change of the subscription is not finished. Try again shortly."


class SubscriptionNotResumable(Conflict):
    """The subscription is neither paused nor about to end."""

    default_detail = "The subscription is neither paused nor about to end."


class SeatLimitExceeded(Unprocessable):
    """The plan has fewer seats than this."""

    default_detail = "The plan does not have so many seats. Choose another plan."


class PriceNotConfigured(Unavailable):
    """Stripe has no price for the plan."""

    default_detail = "Stripe has no price for this plan. Run `acme stripe setup`."


class InvoiceNotFound(NotFound):
    """The tenant has no such invoice."""

    default_detail = "Invoice not found."


class CustomerNotFound(NotFound):
    """The tenant has no customer at Stripe."""

    default_detail = "The tenant has never had a paid subscription."


class PeopleOnly(Forbidden):
    """A machine may not do this."""

    default_detail = "This requires a user's access token, not a service's."


class InsufficientUserAuthentication(Unauthenticated):
    """What costs money needs a recent proof of who asks (RFC 9470)."""

    default_detail = "This action requires recent authentication. Verify your identity, then try again."

    def __init__(self, max_age: int) -> None:
        challenge = f'Bearer error="insufficient_user_authentication", max_age={max_age}'
        super().__init__(headers={"WWW-Authenticate": challenge}, max_age=max_age)
