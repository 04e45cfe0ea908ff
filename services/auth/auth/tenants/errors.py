"""What can go wrong with tenants, named as clients read it."""

from http import HTTPStatus

from servicekit.errors import BadRequest, Conflict, Forbidden, NotFound, ServiceError, Unprocessable


class MemberNotFound(NotFound):
    """Nobody of this id belongs to the tenant."""

    default_detail = "There is no such member."


class OwnFactorResetNotAllowed(Forbidden):
    """Nobody resets their own factors: the proof that removes one is one of them."""

    default_detail = "These are your own. Remove them one by one, or ask another administrator."


class OwnSecondFactorMissing(Conflict):
    """Whoever requires a second factor of others has one: else the next refresh would lock them out."""

    default_detail = "Set up a second factor for your own account first, then require it of everybody."


class MemberOfOtherTenants(Conflict):
    """The account opens other tenants, too, so no single one of them says how it is protected."""

    default_detail = (
        "This person belongs to other organisations, too, so nobody of one may reset their second factors."
        " They can use a recovery code."
    )


class InviteNotFound(NotFound):
    """The tenant has no such invite."""

    default_detail = "There is no such invite."


class LastOwner(Conflict):
    """A tenant is never without an owner."""

    default_detail = "The tenant has no other owner. Make somebody else one first."


class SlugAlreadyExists(Conflict):
    """Another tenant has this slug."""

    default_detail = "This slug is taken."


class TenantNotActive(Conflict):
    """The tenant was suspended or deleted."""

    default_detail = "The tenant is not active."


class TenantSuspendedByOperator(Forbidden):
    """What an operator has suspended, no owner takes up again."""

    default_detail = "The tenant was suspended by the operators. Ask them."


class SettingsChanged(ServiceError):
    """Somebody else changed the settings first."""

    status = HTTPStatus.PRECONDITION_FAILED
    default_detail = "The settings were changed meanwhile. Read them again."

    @classmethod
    def code(cls) -> str:
        """Return the one word for this in every service."""
        return "precondition_failed"


class PreconditionRequired(ServiceError):
    """Settings are replaced only by who says which ones (RFC 6585 section 3)."""

    status = HTTPStatus.PRECONDITION_REQUIRED
    default_detail = "Send the ETag of the settings that you have read, as If-Match."


class InvalidInvite(BadRequest):
    """The invite is unknown, used up, revoked, too old, or another's; which, is not told."""

    default_detail = "The invitation is not valid, or no longer. Ask for a new one."


class AlreadyMember(Conflict):
    """The caller belongs to the tenant."""

    default_detail = "You belong to this tenant already."


class InviteEmailMissing(Conflict):
    """An open invite goes to nobody by mail; its link is handed on by who made it."""

    default_detail = "This invite is open: its link was shown when it was made. Make a new one."


class InviteExpired(Conflict):
    """The invite is used up, revoked, or too old."""

    default_detail = "This invite is over. Make a new one."


class InviteDomainNotAllowed(Unprocessable):
    """The tenant's settings name the domains that may be invited."""

    default_detail = "The settings of the tenant do not allow addresses of this domain."
