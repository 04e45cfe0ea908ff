"""The errors of tenants' secrets."""

from servicekit.errors import Conflict, NotFound, Unavailable


class SecretNotFound(NotFound):
    """The tenant has no such secret."""


class TooManySecrets(Conflict):
    """The tenant has as many secrets as it may have."""

    default_detail = "This tenant has as many secrets as it may have. Delete one first."


class TenantSecretsDisabled(Unavailable):
    """The installation has no key to encrypt the secrets of tenants with."""

    default_detail = (
        "Secrets cannot be stored here: the operator has to set TENANT_SECRETS_ENCRYPTION_KEY first."
    )
