"""Errors of service accounts. Only a payload that is signed by Vault's key gets more than 401."""

from servicekit.errors import BadRequest, Forbidden, NotFound

from auth.errors import Challenged


class InvalidIssuanceSignature(Challenged):
    """The signature is invalid; the answer does not say why."""

    default_detail = "Invalid signature: the payload is not signed by the service accounts' Transit key."


class InvalidIssuance(BadRequest):
    """The signed payload is malformed."""

    default_detail = "The signed payload is malformed."


class InvalidIssuanceAudience(Challenged):
    """The signed payload has another issuer or audience."""

    default_detail = "The signed payload has the wrong issuer or audience."


class IssuanceExpired(Challenged):
    """The signed payload is expired, not valid yet, or valid for too long."""

    default_detail = (
        "The signed payload has expired, is not valid yet, or is valid for more than five minutes."
    )


class IssuanceReplayed(Challenged):
    """The signed payload was used before."""

    default_detail = "This payload has already been used. Sign a new one with a new nonce."


class ServiceAccountNotAllowed(Forbidden):
    """The catalogue has no such account, or not for this tenant, or the tenant is not active."""

    default_detail = "Service account not found for this tenant, or the tenant is not active."


class ScopeNotAllowed(Forbidden):
    """The catalogue does not allow the account all of these scopes."""

    default_detail = "The service account may not have all of these scopes."


class LifetimeNotAllowed(Forbidden):
    """The lifetime exceeds the maximum of the account."""

    default_detail = "The lifetime exceeds what the service account allows."


class ServiceCredentialNotFound(NotFound):
    """The tenant has no such credential, or it was revoked."""

    default_detail = "Service credential not found."
