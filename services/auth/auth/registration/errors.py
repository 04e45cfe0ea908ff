"""Errors of signing up, named as clients read them."""

from servicekit.errors import Conflict, Forbidden, NotFound, Unprocessable


class SignupClosed(Forbidden):
    """Signing up needs an invite; nothing is said of the address."""

    default_detail = "Signing up needs an invitation."


class SignupRequestAlreadyDecided(Conflict):
    """The request was approved or rejected before."""

    default_detail = "The request is decided already."


class SignupRequestsClosed(Forbidden):
    """Nobody here decides on requests for access."""

    default_detail = "This installation does not take requests for access."


class SignupRequestNotFound(NotFound):
    """There is no such request."""

    default_detail = "There is no such request."


class TenantNameMissing(Unprocessable):
    """Who signs up with a tenant of their own names it."""

    default_detail = "Give the name of your tenant."
