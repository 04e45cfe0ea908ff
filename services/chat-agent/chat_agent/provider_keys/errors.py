"""The errors of tenants' own keys of providers."""

from servicekit.errors import BadRequest, NotFound

from chat_agent.errors import ModelFailed


class ProviderKeyNotFound(NotFound):
    """The tenant has no key of its own for the provider."""

    default_detail = "The tenant has no key of its own for this provider."


class ProviderKeyRefused(ModelFailed):
    """A provider refused the tenant's own key; an owner or admin of the tenant must act."""

    default_detail = (
        "The provider refused the tenant's own key. An owner or admin has to replace it, or to delete it"
        " (PUT or DELETE /api/v1/provider-keys)."
    )


class InvalidBaseUrl(BadRequest):
    """The address of a provider may not be called: its scheme, port, host or credentials."""

    default_detail = (
        "The base URL must be https, without credentials, at a public host or one that the operator allows"
        " (`TOOL_PRIVATE_HOSTS`)."
    )
