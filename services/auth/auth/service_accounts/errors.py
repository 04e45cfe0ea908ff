"""What can go wrong with service accounts. Whoever hears more than 401 has proved to hold Vault's key."""

from servicekit.errors import BadRequest, Forbidden, NotFound

from auth.errors import Challenged


class InvalidIssuanceSignature(Challenged):
    """One answer for another key, altered bytes, a retired version and what is no signature at all."""

    default_detail = "Invalid signature: the payload is not signed by the service accounts' Transit key."


class InvalidIssuance(BadRequest):
    """What was signed is not a request for a service account."""

    default_detail = "The signed payload is malformed."


class InvalidIssuanceAudience(Challenged):
    """The request was signed for somebody else, or by somebody else."""

    default_detail = "The signed payload has the wrong issuer or audience."


class IssuanceExpired(Challenged):
    """The request is too old, too far ahead, or good for too long."""

    default_detail = (
        "The signed payload has expired, is not valid yet, or is valid for more than five minutes."
    )


class IssuanceReplayed(Challenged):
    """The request came before."""

    default_detail = "This payload has already been used. Sign a new one with a new nonce."


class ServiceAccountNotAllowed(Forbidden):
    """The catalogue has no such account, or not for this tenant, or the tenant is not active."""

    default_detail = "Service account not found for this tenant, or the tenant is not active."


class ScopeNotAllowed(Forbidden):
    """The catalogue does not give the account all of these scopes."""

    default_detail = "The service account may not have all of these scopes."


class LifetimeNotAllowed(Forbidden):
    """The catalogue lets the account's credentials live less long."""

    default_detail = "The lifetime exceeds what the service account allows."


class ServiceCredentialNotFound(NotFound):
    """The tenant has no such credential, or has it no longer."""

    default_detail = "Service credential not found."
