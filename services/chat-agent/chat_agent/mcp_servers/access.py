"""How a server is reached: with which client, which headers, and on whose behalf."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property

import httpx2
from servicekit.database import Database
from sqlalchemy.ext.asyncio import AsyncSession

from chat_agent.mcp_servers.access_urls import check_encrypted
from chat_agent.mcp_servers.client import McpClient
from chat_agent.mcp_servers.definition import OAuth, SecretAuth
from chat_agent.mcp_servers.oauth_http import OAuthHttp
from chat_agent.mcp_servers.registered import RegisteredServer
from chat_agent.mcp_servers.sign_ins import SignIns
from chat_agent.task_set import TaskSet
from chat_agent.tenant_secrets import store as secrets
from chat_agent.tenant_secrets.masking import Mask
from chat_agent.tenant_secrets.store import Keys

# Shorter ones would mask words.
MIN_MASKED = 6


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
    http: httpx2.AsyncClient
    private_hosts: frozenset[str]
    # Of tenants' secrets.
    keys: Keys
    refreshes: TaskSet = field(default_factory=TaskSet)

    @property
    def sign_ins(self) -> SignIns:
        """The sign-ins of persons."""
        return SignIns(self.database, OAuthHttp(self.http, self.private_hosts), self.keys, self.refreshes)

    def check_url(self, url: str) -> None:
        """Raise InvalidMcpServer for plain HTTP, unless it is a host that the operator allows."""
        check_encrypted(url, self.private_hosts)

    async def client_for(
        self, server: RegisteredServer, user_id: str, rejected: str | None = None
    ) -> AuthorizedClient:
        """Return a client with the credentials for a server; raises SecretNotFound, McpSignInRequired.

        `rejected` is a token that the server has refused.
        """
        config = server.config
        values, token = await self.secret_headers(server), None
        if isinstance(config.auth, OAuth):
            token = await self.sign_ins.access_token(server, user_id, rejected)
            values["Authorization"] = f"Bearer {token}"
        headers = {**config.plain_headers, **values}
        client = McpClient(self.http, config.url, headers, config.timeout_seconds)
        return AuthorizedClient(client, secrets_in(values.values()), token)

    async def secret_headers(self, server: RegisteredServer) -> dict[str, str]:
        """Return the headers whose values are secrets of the tenant; raises SecretNotFound."""
        names, auth = server.config.secret_headers, server.config.auth
        if not names and not isinstance(auth, SecretAuth):
            return {}
        async with self.database.begin() as session:
            headers = {header: await self._secret(session, server, name) for header, name in names.items()}
            if isinstance(auth, SecretAuth):
                headers["Authorization"] = f"Bearer {await self._secret(session, server, auth.secret)}"
        return headers

    async def _secret(self, session: AsyncSession, server: RegisteredServer, name: str) -> str:
        secret = await secrets.read(session, self.keys, server.tenant_id, name)
        return secret.get_secret_value()


def secrets_in(headers: Iterable[str]) -> frozenset[str]:
    """Return the values of headers that are long enough to be masked in a text, with and without a scheme."""
    values = {part for header in headers for part in (header, header.removeprefix("Bearer "))}
    return frozenset(value for value in values if len(value) >= MIN_MASKED)
