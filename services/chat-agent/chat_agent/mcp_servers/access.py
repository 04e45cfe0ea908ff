"""How a server is reached: with which client, which headers, and on whose behalf."""

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeVar

from pydantic import SecretStr
from servicekit.database import Database
from sqlalchemy.ext.asyncio import AsyncSession

from chat_agent.clients.retry import retry_transaction
from chat_agent.clients.tenant_http import TenantClients
from chat_agent.mcp_servers.client import McpClient
from chat_agent.mcp_servers.definition import OAuth
from chat_agent.mcp_servers.errors import McpAccessDenied
from chat_agent.mcp_servers.oauth_http import OAuthHttp
from chat_agent.mcp_servers.registered import RegisteredServer
from chat_agent.mcp_servers.sign_ins import SignIns
from chat_agent.task_set import TaskSet
from chat_agent.tenant_secrets.masking import Mask
from chat_agent.tenant_secrets.store import Keys, read

# Shorter ones would mask words.
MIN_MASKED = 6
T = TypeVar("T")


@dataclass(frozen=True)
class AuthorizedClient:
    """A client of a server, and what must not leave it."""

    client: McpClient
    secrets: frozenset[str]
    # Of the person for whom the request is made.
    token: str | None = None

    @cached_property
    def mask(self) -> Mask:
        """What masks the secrets that are sent to the server in what it answers."""
        return Mask(self.secrets)


@dataclass(frozen=True)
class McpAccess:
    """What reaches the MCP servers of all tenants."""

    database: Database
    # Reaches public hosts only, and those that the operator allows.
    http: TenantClients
    private_hosts: frozenset[str]
    # Of tenants' secrets.
    keys: Keys
    refreshes: TaskSet = field(default_factory=TaskSet)

    def sign_ins_for(self, server: RegisteredServer) -> SignIns:
        """Return the sign-ins of persons for a server."""
        http = OAuthHttp(self.http.find(server.tenant_id), self.private_hosts)
        return SignIns(self.database, http, self.keys, self.refreshes)

    async def request(
        self, server: RegisteredServer, user_id: str, operation: Callable[[AuthorizedClient], Awaitable[T]]
    ) -> T:
        """Return the result of an operation; raises SecretNotFound, McpSignInRequired, and what it raises.

        Where the server refuses the token of a person, the operation is repeated once with a new one.
        """
        authorized = await self._client_for(server, user_id)
        try:
            return await operation(authorized)
        except McpAccessDenied:
            if authorized.token is None:
                raise
        return await operation(await self._client_for(server, user_id, authorized.token))

    async def _client_for(
        self, server: RegisteredServer, user_id: str, rejected: str | None = None
    ) -> AuthorizedClient:
        """Return a client with the credentials for a server; raises SecretNotFound, McpSignInRequired.

        `rejected` is a token that the server has refused.
        """
        config = server.config
        secrets, token = await self.secret_values(server), None
        values = {header: one.value(secrets) for header, one in config.secret_headers.items()}
        if isinstance(config.auth, OAuth):
            token = await self.sign_ins_for(server).access_token(server, user_id, rejected)
            values["Authorization"] = f"Bearer {token}"
        headers = {**config.plain_headers, **values}
        client = McpClient(self.http.find(server.tenant_id), config.url, headers, config.timeout_seconds)
        return AuthorizedClient(client, secrets_in([*secrets.values(), *values.values()]), token)

    async def secret_values(self, server: RegisteredServer) -> dict[str, str]:
        """Return the secrets that the headers name; raises SecretNotFound."""
        names = {one.secret for one in server.config.secret_headers.values()}
        if not names:
            return {}

        async def load(session: AsyncSession) -> dict[str, SecretStr]:
            return {name: await read(session, self.keys, server.tenant_id, name) for name in sorted(names)}

        secrets = await retry_transaction(self.database, load)
        return {name: secret.get_secret_value() for name, secret in secrets.items()}


def secrets_in(headers: Iterable[str]) -> frozenset[str]:
    """Return the values of headers that are long enough to be masked in a text, with and without a scheme."""
    values = {part for header in headers for part in (header, header.removeprefix("Bearer "))}
    return frozenset(value for value in values if len(value) >= MIN_MASKED)
