"""What can go wrong with service accounts. Whoever hears more than 401 has proved to hold Vault's key."""

from servicekit.errors import BadRequest, Forbidden, NotFound

from auth.errors import Challenged


class InvalidIssuanceSignature(Challenged):
    """One answer for another key, altered bytes, a retired version and what is no signature at all."""

    default_detail = "The payload is not signed by the key that vouches for service accounts."


class InvalidIssuance(BadRequest):
    """What was signed is not a request for a service account."""

    default_detail = "The signed payload is not in order."


class InvalidIssuanceAudience(Challenged):
    """The request was signed for somebody else, or by somebody else."""

    default_detail = "The signed payload names another issuer or audience."


class IssuanceExpired(Challenged):
    """The request is too old, too far ahead, or good for too long."""

    default_detail = "The signed payload is not of now, or is good for more than five minutes."


class IssuanceReplayed(Challenged):
    """The request came before."""

    default_detail = "This payload was used before. Sign another, with a new nonce."


class ServiceAccountNotAllowed(Forbidden):
    """The catalogue has no such account, or not for this tenant, or the tenant is not active."""

    default_detail = "There is no such service account for this tenant, or the tenant is not active."


class ScopeNotAllowed(Forbidden):
    """The catalogue does not give the account all of these scopes."""

    default_detail = "The service account may not have all of these scopes."


class LifetimeNotAllowed(Forbidden):
    """The catalogue lets the account's credentials live less long."""

    default_detail = "The service account's credentials may not live that long."


class ServiceCredentialNotFound(NotFound):
    """The tenant has no such credential, or has it no longer."""

    default_detail = "There is no such credential."
