"""Errors of one's own account, named as clients read them."""

from servicekit.errors import Conflict, Forbidden, Unprocessable


class InvalidPassword(Forbidden):
    """The caller is signed in, but the password is not that of the account."""

    default_detail = "Incorrect password."


class PasswordAlreadyUsed(Unprocessable):
    """The new password is the current one, or one of the latest."""

    default_detail = "You have used this password before. Choose another one."


class SoleOwner(Conflict):
    """The user is the only owner of tenants with other members; `tenant_ids` lists them."""

    default_detail = "You are the only owner of a tenant with other members. Make one of them an owner first."
