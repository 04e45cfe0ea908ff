"""Errors of tenants, named as clients read them."""

from http import HTTPStatus

from servicekit.errors import BadRequest, Conflict, Forbidden, NotFound, ServiceError, Unprocessable


class MemberNotFound(NotFound):
    """The tenant has no such member."""

    default_detail = "Member not found."


class OwnFactorResetNotAllowed(Forbidden):
    """Nobody resets their own factors; remove them with a proof of one of them."""

    default_detail = (
        "You cannot reset your own second factors. Remove them one by one, or ask another administrator."
    )


class OwnSecondFactorMissing(Conflict):
    """Who requires second factors must have one, or the next refresh would lock them out."""

    default_detail = "Set up a second factor for your own account before you require it of all members."


class MemberOfOtherTenants(Conflict):
    """The account belongs to other tenants, too, so a single one cannot reset its factors."""

    default_detail = (
        "This member also belongs to other tenants, so no single tenant may reset their second factors."
        " They can use a recovery code."
    )


class InviteNotFound(NotFound):
    """The tenant has no such invite."""

    default_detail = "Invite not found."


class LastOwner(Conflict):
    """The change would leave the tenant without an owner."""

    default_detail = "This is the last owner of the tenant. Make another member an owner first."


class SlugAlreadyExists(Conflict):
    """Another tenant has this slug."""

    default_detail = "This slug is already in use."


class TenantNotActive(Conflict):
    """The tenant was suspended or deleted."""

    default_detail = "The tenant is not active."


class TenantSuspendedByOperator(Forbidden):
    """An owner cannot reactivate a tenant that an operator has suspended."""

    default_detail = "The tenant was suspended by the operators of this installation. Contact them."


class SettingsChanged(ServiceError):
    """Somebody else changed the settings first."""

    status = HTTPStatus.PRECONDITION_FAILED
    default_detail = "The settings have changed since you read them. Read them again."

    @classmethod
    def code(cls) -> str:
        """Return the code that all services use for this."""
        return "precondition_failed"


class PreconditionRequired(ServiceError):
    """If-Match is missing: it must name the settings to replace (RFC 6585 section 3)."""

    status = HTTPStatus.PRECONDITION_REQUIRED
    default_detail = "Send the ETag of the settings that you have read in an If-Match header."


class InvalidInvite(BadRequest):
    """The invite is unknown, used, revoked, expired, or for another address; it does not say which."""

    default_detail = "This invitation is invalid or has expired. Ask for a new one."


class AlreadyMember(Conflict):
    """The caller belongs to the tenant."""

    default_detail = "You are already a member of this tenant."


class InviteEmailMissing(Conflict):
    """An open invite has no address, so it cannot be sent by email."""

    default_detail = "This invite is not for an email address, so it cannot be sent again. Create a new one."


class InviteExpired(Conflict):
    """The invite is used, revoked, or expired."""

    default_detail = "This invite has been used, revoked or has expired. Create a new one."


class InviteDomainNotAllowed(Unprocessable):
    """The tenant's settings do not allow the domain of the address."""

    default_detail = "The tenant's settings do not allow this email domain."
