"""What can go wrong with one's own account."""

from servicekit.errors import Conflict, Forbidden, Unprocessable


class InvalidPassword(Forbidden):
    """Who asks is signed in, and does not know the password of the account."""

    default_detail = "Incorrect password."


class PasswordAlreadyUsed(Unprocessable):
    """The new password is the present one, or one of the last few."""

    default_detail = "You have used this password before. Choose another one."


class SoleOwner(Conflict):
    """Nobody else could look after a tenant that others are in; `tenant_ids` names each."""

    default_detail = "You are the only owner of a tenant with other members. Make one of them an owner first."
