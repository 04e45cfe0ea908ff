"""Errors of signing up, named as clients read them."""

from servicekit.errors import Conflict, Forbidden, NotFound, Unprocessable


class SignupClosed(Forbidden):
    """Signing up needs an invite; nothing is said of the address."""

    default_detail = "An invitation is required to sign up."


class SignupRequestAlreadyDecided(Conflict):
    """The request was approved or rejected before."""

    default_detail = "This request has already been decided."


class SignupRequestsClosed(Forbidden):
    """Requests for access are not accepted, since there are no operators."""

    default_detail = "Requests for access are not accepted here."


class SignupRequestNotFound(NotFound):
    """Sign-up request not found."""

    default_detail = "Sign-up request not found."


class TenantNameMissing(Unprocessable):
    """The name of the new tenant is missing."""

    default_detail = "Enter a name for your tenant."
