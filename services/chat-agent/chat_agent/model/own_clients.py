"""Clients with keys of tenants' own: bounded in number, over connections that they share."""

from chat_agent.model.fast_client import FastClient
from chat_agent.model.providers import CLIENTS, Client
from chat_agent.model.transport import Connections
from chat_agent.provider_keys.keys import OwnKey, Provider, own_key
from chat_agent.provider_keys.resolver import PublicResolver
from chat_agent.settings import Settings

MAX_CLIENTS = 256


class OwnClients:
    """The clients of tenants' own keys; which one a task uses, its `OWN_KEYS` say."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._seconds = settings.model_connect_timeout_seconds
        self._connections = Connections(self._seconds)
        # To servers that tenants have named.
        resolver = PublicResolver(settings.tool_private_hosts)
        self._public_connections = Connections(self._seconds, resolver, trust_env=False)
        self._clients: dict[tuple[Provider, OwnKey], Client] = {}

    def main(self) -> FastClient | None:
        """Return the client of OpenAI's protocol with the current tenant's own key, if it has one."""
        client = self.of_provider("openai")
        assert client is None or isinstance(client, FastClient)  # noqa: S101  # see below
        return client

    def of_provider(self, provider: Provider) -> Client | None:
        """Return the client of a provider with the current tenant's own key, if it has one."""
        own = own_key(provider)
        if own is None:
            return None
        client = self._clients.get((provider, own))
        if client is None:
            if len(self._clients) >= MAX_CLIENTS:  # the connections remain
                del self._clients[next(iter(self._clients))]
            client = self._clients[provider, own] = self._build(provider, own)
        return client

    def _build(self, provider: Provider, own: OwnKey) -> Client:
        base_url = own.base_url or getattr(self._settings, f"{provider}_base_url")
        connections = self._public_connections if own.base_url else self._connections
        connect = FastClient if provider == "openai" else CLIENTS[provider]
        return connect(base_url, own.key.get_secret_value(), self._seconds, connections)

    async def close(self) -> None:
        """Close the connections."""
        await self._connections.close()
        await self._public_connections.close()
