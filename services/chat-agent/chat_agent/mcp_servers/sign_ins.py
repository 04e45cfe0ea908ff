"""Sign-ins of persons for servers: begun, completed, revoked; and the tokens that come of them."""

import asyncio
import hashlib
import hmac
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from servicekit.database import Database
from servicekit.errors import ServiceError
from sqlalchemy.ext.asyncio import AsyncSession

from chat_agent.clients.retry import retry_transaction
from chat_agent.mcp_servers import oauth_client
from chat_agent.mcp_servers.definition import OAuth
from chat_agent.mcp_servers.errors import McpSignInExpired, McpSignInFailed
from chat_agent.mcp_servers.grants import (
    ATTEMPT,
    CLIENT,
    GRANT,
    Grants,
    find,
    find_or_create,
    forget_client,
)
from chat_agent.mcp_servers.oauth_client import OFFLINE_ACCESS, Attempt, Grant, OAuthClient
from chat_agent.mcp_servers.oauth_http import GrantRefused, OAuthHttp
from chat_agent.mcp_servers.oauth_metadata import AuthorizationServer, discover
from chat_agent.mcp_servers.refreshes import Refresher, sign_in_required
from chat_agent.mcp_servers.registered import RegisteredServer
from chat_agent.task_set import TaskSet
from chat_agent.tenant_secrets import store as secrets
from chat_agent.tenant_secrets.store import Keys

ATTEMPT_LIFETIME = timedelta(minutes=10)


@dataclass(frozen=True)
class SignIns:
    """The sign-ins of persons of all tenants."""

    database: Database
    http: OAuthHttp
    keys: Keys
    # One is not cancelled with the call that needs it: the new token must be stored.
    refreshes: TaskSet

    @property
    def grants(self) -> Grants:
        """What persons have granted."""
        return Grants(self.keys)

    @property
    def refresher(self) -> Refresher:
        """What refreshes their tokens."""
        return Refresher(self.database, self.http, self.grants)

    async def begin(self, server: RegisteredServer, user_id: str) -> tuple[str, datetime]:
        """Return where a person signs in, and until when; raises McpSignInFailed, McpServerUnavailable."""
        config = oauth_of(server)
        found, indicator, known_scopes = await discover(self.http, server.config.url)
        scopes = scopes_for(config, found, known_scopes)
        client = await self._client(server, config, found, scopes)
        verifier, state = oauth_client.new_secret(), oauth_client.new_secret()
        attempt = Attempt(
            server=found, client=client, verifier=verifier, resource=server.config.url, indicator=indicator
        )
        expires_at = datetime.now(UTC) + ATTEMPT_LIFETIME
        async with self.database.begin() as session:
            row = await find_or_create(session, server, user_id)
            row.state_hash, row.attempt_expires_at = hash_of(state), expires_at
            await self.grants.write(session, server.tenant_id, ATTEMPT, str(row.id), attempt)
        return oauth_client.authorization_url(attempt, state, scopes), expires_at

    async def complete(
        self, server: RegisteredServer, user_id: str, state: str, code: str | None, issuer: str | None
    ) -> None:
        """Store what a person has granted; raises McpSignInExpired, McpSignInFailed, McpServerUnavailable."""
        attempt = await self._take_attempt(server, user_id, state)
        check_issuer(attempt.server, issuer)
        if code is None:
            raise McpSignInFailed("The sign-in was not granted.")
        try:
            grant = await oauth_client.redeem_code(self.http, attempt, code)
        except GrantRefused as refusal:
            async with self.database.begin() as session:
                await forget_client(session, server, refusal)
            raise McpSignInFailed("The authorization server does not take the code.") from None
        async with self.database.begin() as session:
            row = await find_or_create(session, server, user_id)
            await self.grants.store(session, row, grant)

    async def access_token(self, server: RegisteredServer, user_id: str, rejected: str | None = None) -> str:
        """Return a token of a person for a server, refreshed where it has expired or was rejected.

        Raises McpSignInRequired, McpServerUnavailable.
        """

        async def load(session: AsyncSession) -> Grant | None:
            return await self.grants.find(session, server, await find(session, server, user_id))

        grant = await retry_transaction(self.database, load)
        if grant is None:
            raise sign_in_required(server)
        if grant.is_usable(rejected):
            return grant.access_token
        result: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.refreshes.start(self._refresh(server, user_id, rejected, result))
        return await result

    async def revoke(self, server: RegisteredServer, user_id: str) -> None:
        """End the sign-in of a person, here and as far as possible at the authorization server."""
        async with self.database.begin() as session:
            row = await find_or_create(session, server, user_id)
            grant = await self.grants.find(session, server, row)
            row.state, row.state_hash = "revoked", None
            await secrets.remove(session, server.tenant_id, str(row.id), kind=GRANT)
        if grant is not None:
            with suppress(ServiceError, GrantRefused):
                await oauth_client.revoke(self.http, grant)

    async def _refresh(
        self, server: RegisteredServer, user_id: str, rejected: str | None, result: asyncio.Future[str]
    ) -> None:
        try:
            token = await self.refresher.refresh(server, user_id, rejected)
        except Exception as error:  # whoever waits for the token raises it
            if not result.cancelled():
                result.set_exception(error)
        else:
            if not result.cancelled():
                result.set_result(token)

    async def _client(
        self, server: RegisteredServer, config: OAuth, found: AuthorizationServer, scopes: list[str]
    ) -> OAuthClient:
        """Return the client of a server: the configured one, or one that was registered before or is now."""
        tenant_id, name = server.tenant_id, str(server.id)
        async with self.database.begin() as session:
            if config.client_id is not None:
                secret = None
                if (named := config.client_secret) is not None:
                    value = await secrets.read(session, self.keys, tenant_id, named.secret)
                    secret = named.value({named.secret: value.get_secret_value()})
                return OAuthClient(
                    issuer=found.issuer,
                    client_id=config.client_id,
                    client_secret=secret,
                    redirect_uri=config.redirect_uri,
                )
            known = await self.grants.read(session, tenant_id, CLIENT, name, OAuthClient)
        if known and known.is_registered_for(found, config, scopes):
            return known
        client = await oauth_client.register(self.http, found, config, scopes)
        async with self.database.begin() as session:
            await self.grants.write(session, tenant_id, CLIENT, name, client)
        return client

    async def _take_attempt(self, server: RegisteredServer, user_id: str, state: str) -> Attempt:
        """Return an attempt, once, to whom has begun it; raises McpSignInExpired."""
        async with self.database.begin() as session:
            row = await find_or_create(session, server, user_id)
            is_open = row.attempt_expires_at is not None and datetime.now(UTC) < row.attempt_expires_at
            is_own = row.state_hash is not None and hmac.compare_digest(row.state_hash, hash_of(state))
            attempt = await self.grants.read(session, server.tenant_id, ATTEMPT, str(row.id), Attempt)
            if is_own:
                row.state_hash = None
                await secrets.remove(session, server.tenant_id, str(row.id), kind=ATTEMPT)
        if not is_own or not is_open or attempt is None or attempt.resource != server.config.url:
            raise McpSignInExpired
        return attempt


def oauth_of(server: RegisteredServer) -> OAuth:
    """Return how persons sign in; raises McpSignInFailed where they do not."""
    if not isinstance(server.config.auth, OAuth):
        raise McpSignInFailed(f"Nobody signs in for the MCP server {server.name!r}.")
    return server.config.auth


def scopes_for(config: OAuth, server: AuthorizationServer, known: list[str]) -> list[str]:
    """Return the scopes to ask for: the configured ones, or all known ones and that of refresh tokens."""
    if config.scopes:
        return config.scopes
    is_offline = OFFLINE_ACCESS in server.scopes_supported and OFFLINE_ACCESS not in known
    return [*known, OFFLINE_ACCESS] if is_offline else known


def check_issuer(server: AuthorizationServer, issuer: str | None) -> None:
    """Raise McpSignInFailed where the response is of another authorization server (RFC 9207)."""
    is_required = server.authorization_response_iss_parameter_supported
    if (issuer is None and is_required) or issuer not in {None, server.issuer}:
        raise McpSignInFailed("The response is not of the authorization server that was asked.")


def hash_of(state: str) -> str:
    """Return what is stored of a state."""
    return hashlib.sha256(state.encode()).hexdigest()
