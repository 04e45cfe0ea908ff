"""Sign-ins of persons for servers: begun, completed, refreshed, revoked.

Tokens are secrets of the tenant, of kinds of their own, by the id of the row of the person and the server.
"""

import asyncio
import hashlib
import hmac
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TypeVar
from uuid import UUID, uuid4

from pydantic import BaseModel, SecretStr
from servicekit.database import Database
from servicekit.errors import ServiceError
from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from chat_agent.mcp_servers import oauth_client
from chat_agent.mcp_servers.definition import OAuth
from chat_agent.mcp_servers.errors import McpSignInExpired, McpSignInFailed, McpSignInRequired
from chat_agent.mcp_servers.oauth_client import Attempt, Grant, OAuthClient
from chat_agent.mcp_servers.oauth_http import ClientRefused, GrantRefused, OAuthHttp
from chat_agent.mcp_servers.oauth_metadata import AuthorizationServer, discover
from chat_agent.mcp_servers.registered import RegisteredServer
from chat_agent.mcp_servers.tables import McpSignIn
from chat_agent.task_set import TaskSet
from chat_agent.tenant_secrets import store as secrets
from chat_agent.tenant_secrets.errors import SecretNotFound
from chat_agent.tenant_secrets.store import Keys

# Kinds of secrets.
GRANT, ATTEMPT, CLIENT = "mcp_grant", "mcp_attempt", "mcp_client"
ATTEMPT_LIFETIME = timedelta(minutes=10)
# Of a refresh, for which a row is locked.
REFRESH_SECONDS = 8.0
T = TypeVar("T", bound=BaseModel)


@dataclass(frozen=True)
class SignIns:
    """The sign-ins of persons of all tenants."""

    database: Database
    http: OAuthHttp
    keys: Keys
    # One is not cancelled with the call that needs it: the new token must be stored.
    refreshes: TaskSet

    async def begin(self, server: RegisteredServer, user_id: str) -> tuple[str, datetime]:
        """Return where a person signs in, and until when; raises McpSignInFailed, McpServerUnavailable."""
        config = oauth_of(server)
        found, scopes = await discover(self.http, server.config.url)
        client = await self._client(server, config, found)
        verifier, state = oauth_client.new_secret(), oauth_client.new_secret()
        attempt = Attempt(server=found, client=client, verifier=verifier, resource=server.config.url)
        expires_at = datetime.now(UTC) + ATTEMPT_LIFETIME
        async with self.database.begin() as session:
            row = await lock(session, server, user_id)
            row.state_hash, row.attempt_expires_at = hash_of(state), expires_at
            await self._write(session, server.tenant_id, ATTEMPT, str(row.id), attempt)
        return oauth_client.authorization_url(attempt, state, config.scopes or scopes), expires_at

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
            row = await lock(session, server, user_id)
            await self._store(session, row, grant)

    async def access_token(self, server: RegisteredServer, user_id: str, rejected: str | None = None) -> str:
        """Return a token of a person for a server, refreshed where it has expired or was rejected.

        Raises McpSignInRequired, McpServerUnavailable.
        """
        async with self.database.begin() as session:
            row = await find(session, server, user_id)
            grant = await self._grant(session, server, row)
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
            row = await lock(session, server, user_id)
            grant = await self._grant(session, server, row)
            row.state, row.state_hash = "revoked", None
            await secrets.remove(session, server.tenant_id, str(row.id), kind=GRANT)
        if grant is not None:
            with suppress(ServiceError, GrantRefused):
                await oauth_client.revoke(self.http, grant)

    async def _refresh(
        self, server: RegisteredServer, user_id: str, rejected: str | None, result: asyncio.Future[str]
    ) -> None:
        try:
            token = await self._refreshed(server, user_id, rejected)
        except Exception as error:  # whoever waits for the token raises it
            if not result.cancelled():
                result.set_exception(error)
        else:
            if not result.cancelled():
                result.set_result(token)

    async def _refreshed(self, server: RegisteredServer, user_id: str, rejected: str | None) -> str:
        """Refresh under the lock of the row: of all processes, one redeems a refresh token.

        The transaction lasts as long as the request of the token endpoint, at most REFRESH_SECONDS. Whatever
        fails there, the grant stays, unless it is refused.
        """
        async with self.database.begin() as session:
            row = await lock(session, server, user_id)
            grant = await self._grant(session, server, row)
            if grant is not None and grant.is_usable(rejected):
                return grant.access_token
            try:
                async with asyncio.timeout(REFRESH_SECONDS):
                    new = await oauth_client.refresh(self.http, grant) if grant else None
            except GrantRefused as refusal:
                new = None
                await forget_client(session, server, refusal)
            if new is None:
                row.state = "needs_login"
                await secrets.remove(session, server.tenant_id, str(row.id), kind=GRANT)
            else:
                await self._store(session, row, new)
        if new is None:
            raise sign_in_required(server)
        return new.access_token

    async def _client(
        self, server: RegisteredServer, config: OAuth, found: AuthorizationServer
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
            known = await self._read(session, tenant_id, CLIENT, name, OAuthClient)
        if known and (known.issuer, known.redirect_uri) == (found.issuer, config.redirect_uri):
            return known
        client = await oauth_client.register(self.http, found, config)
        async with self.database.begin() as session:
            await self._write(session, tenant_id, CLIENT, name, client)
        return client

    async def _take_attempt(self, server: RegisteredServer, user_id: str, state: str) -> Attempt:
        """Return an attempt, once, to whom has begun it; raises McpSignInExpired."""
        async with self.database.begin() as session:
            row = await lock(session, server, user_id)
            is_open = row.attempt_expires_at is not None and datetime.now(UTC) < row.attempt_expires_at
            is_own = row.state_hash is not None and hmac.compare_digest(row.state_hash, hash_of(state))
            attempt = await self._read(session, server.tenant_id, ATTEMPT, str(row.id), Attempt)
            if is_own:
                row.state_hash = None
                await secrets.remove(session, server.tenant_id, str(row.id), kind=ATTEMPT)
        if not is_own or not is_open or attempt is None or attempt.resource != server.config.url:
            raise McpSignInExpired
        return attempt

    async def _grant(
        self, session: AsyncSession, server: RegisteredServer, row: McpSignIn | None
    ) -> Grant | None:
        """Return the grant of a row; one for another address is none: its token must not go there."""
        if row is None or row.state != "connected":
            return None
        grant = await self._read(session, server.tenant_id, GRANT, str(row.id), Grant)
        return grant if grant and grant.resource == server.config.url else None

    async def _store(self, session: AsyncSession, row: McpSignIn, grant: Grant) -> None:
        row.state, row.updated_at = "connected", datetime.now(UTC)
        await self._write(session, row.tenant_id, GRANT, str(row.id), grant)

    async def _read(
        self, session: AsyncSession, tenant_id: UUID, kind: str, name: str, model: type[T]
    ) -> T | None:
        try:
            stored = await secrets.read(session, self.keys, tenant_id, name, kind=kind)
        except SecretNotFound:
            return None
        return model.model_validate_json(stored.get_secret_value())

    async def _write(
        self, session: AsyncSession, tenant_id: UUID, kind: str, name: str, value: BaseModel
    ) -> None:
        sealed = SecretStr(value.model_dump_json())
        await secrets.write(session, self.keys, tenant_id, name, sealed, updated_by="", kind=kind)


async def find(session: AsyncSession, server: RegisteredServer, user_id: str) -> McpSignIn | None:
    """Find the sign-in of a person for a server."""
    own = select(McpSignIn).filter_by(server_id=server.id, user_id=user_id)
    return (await session.scalars(own)).one_or_none()


async def lock(session: AsyncSession, server: RegisteredServer, user_id: str) -> McpSignIn:
    """Return the sign-in of a person for a server, locked; one that never was is made."""
    new = insert(McpSignIn).values(
        id=uuid4(), tenant_id=server.tenant_id, server_id=server.id, user_id=user_id
    )
    await session.execute(new.on_conflict_do_nothing())
    own = select(McpSignIn).filter_by(server_id=server.id, user_id=user_id)
    return (await session.scalars(own.with_for_update())).one()


async def forget_client(session: AsyncSession, server: RegisteredServer, refusal: GrantRefused) -> None:
    """Delete a registered client that is refused: the next sign-in registers another."""
    if isinstance(refusal, ClientRefused):
        await secrets.remove(session, server.tenant_id, str(server.id), kind=CLIENT)


def oauth_of(server: RegisteredServer) -> OAuth:
    """Return how persons sign in; raises McpSignInFailed where they do not."""
    if not isinstance(server.config.auth, OAuth):
        raise McpSignInFailed(f"Nobody signs in for the MCP server {server.name!r}.")
    return server.config.auth


def check_issuer(server: AuthorizationServer, issuer: str | None) -> None:
    """Raise McpSignInFailed where the response is of another authorization server (RFC 9207)."""
    is_required = server.authorization_response_iss_parameter_supported
    if (issuer is None and is_required) or issuer not in {None, server.issuer}:
        raise McpSignInFailed("The response is not of the authorization server that was asked.")


def sign_in_required(server: RegisteredServer) -> McpSignInRequired:
    """Return the error of a call that nobody has signed in for."""
    return McpSignInRequired(f"The person has to sign in for the MCP server {server.name!r} first.")


def hash_of(state: str) -> str:
    """Return what is stored of a state."""
    return hashlib.sha256(state.encode()).hexdigest()
