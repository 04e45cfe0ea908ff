"""Errors of access control, named as clients read them."""

from servicekit.errors import Forbidden, NotFound


class TenantNotFound(NotFound):
    """There is no such tenant, or the caller does not belong to it."""

    default_detail = "Tenant not found."


class RoleTooLow(Forbidden):
    """The role, as it is now, does not allow this; nobody grants or touches one above their own."""

    default_detail = "Your role does not allow this action."


class OperatorsOnly(Forbidden):
    """Only those who run this installation may do this."""

    default_detail = "Only operators of this installation may do this."


class CountryNotAllowed(Forbidden):
    """Accounts cannot be created from this country, or from an unknown one where only some are allowed."""

    default_detail = "Accounts cannot be created from your country."


class EmailDomainNotAllowed(Forbidden):
    """Accounts cannot be created with this email domain; the answer does not depend on the address."""

    default_detail = "Accounts cannot be created with this email domain. Use another address."
