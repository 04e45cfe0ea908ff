"""A tenant's own keys of providers, as calls of models read them."""

from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Literal

from pydantic import SecretStr

from chat_agent.settings import ANY_LLM, OTHER_PROVIDERS

Provider = Literal["openai", "anthropic", "gemini", "xai"]


@dataclass(frozen=True)
class OwnKey:
    """A key of a tenant, and the server that it is for where that is not the installation's."""

    key: SecretStr
    base_url: str | None = None


OwnKeys = Mapping[str, OwnKey]
# Those of the tenant that the current task works for, by provider.
OWN_KEYS: ContextVar[OwnKeys] = ContextVar("OWN_KEYS")


def has_own_key(model: str) -> bool:
    """Return whether a model is called with a key of the current task's tenant."""
    provider = provider_of(model)
    return provider is not None and own_key(provider) is not None


def provider_of(model: str) -> str | None:
    """Return the provider whose key a model is called with; none of those that a tenant may have keys for."""
    prefix = model.partition("/")[0]
    if prefix == ANY_LLM:
        return None
    return prefix if prefix in OTHER_PROVIDERS else "openai"


def own_key(provider: str) -> OwnKey | None:
    """Return the key of the current task's tenant for a provider, if it has one."""
    keys = OWN_KEYS.get(None)
    return keys.get(provider) if keys else None
