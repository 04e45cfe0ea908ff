"""Errors of access control, named as clients read them."""

from servicekit.errors import Forbidden, NotFound


class TenantNotFound(NotFound):
    """There is no such tenant, or the caller does not belong to it."""

    default_detail = "There is no such tenant."


class RoleTooLow(Forbidden):
    """The role, as it is now, does not allow this; nobody grants or touches one above their own."""

    default_detail = "Your role does not allow this."


class OperatorsOnly(Forbidden):
    """Only those who run this installation may do this."""

    default_detail = "This is for the operators of this installation."


class CountryNotAllowed(Forbidden):
    """Accounts are not made from this country, or only from some that this is not known to be in."""

    default_detail = "Accounts are not made from where you are."


class EmailDomainNotAllowed(Forbidden):
    """Accounts are not for addresses of this domain; nothing is said of the address itself."""

    default_detail = "Accounts here are not for addresses of this domain. Use another one."
