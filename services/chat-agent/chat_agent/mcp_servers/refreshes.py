"""Refreshes the tokens of persons: of all replicas, one redeems a refresh token.

A row says who refreshes, and until when. No transaction is open while the authorization server works: slow
ones would use up the connections of everybody.
"""

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta

from servicekit.database import Database
from servicekit.errors import ServiceError
from sqlalchemy import func, or_, update
from sqlalchemy.ext.asyncio import AsyncSession

from chat_agent.clients.retry import retry_transaction
from chat_agent.mcp_servers import oauth_client
from chat_agent.mcp_servers.errors import McpServerUnavailable, McpSignInRequired
from chat_agent.mcp_servers.grants import GRANT, Grants, find, forget_client
from chat_agent.mcp_servers.oauth_client import Grant
from chat_agent.mcp_servers.oauth_http import GrantRefused, OAuthHttp
from chat_agent.mcp_servers.registered import RegisteredServer
from chat_agent.mcp_servers.tables import McpSignIn
from chat_agent.tenant_secrets import store as secrets

# Longer than a request of the token endpoint. After it another replica may try: this one was killed.
LEASE = timedelta(seconds=15)
# Between two looks at the row while another replica refreshes.
POLL_SECONDS = 0.2
# Until the lease of a killed replica has expired, and another one has refreshed.
MAX_POLLS = int(2 * LEASE.total_seconds() / POLL_SECONDS)


@dataclass(frozen=True)
class Claim:
    """A grant that this task alone refreshes, until its lease expires."""

    grant: Grant
    expires_at: datetime


@dataclass(frozen=True)
class Refresher:
    """Refreshes tokens of a person for a server."""

    database: Database
    http: OAuthHttp
    grants: Grants

    async def refresh(self, server: RegisteredServer, user_id: str, rejected: str | None) -> str:
        """Return a new token, whoever refreshes it.

        Raises McpSignInRequired, McpServerUnavailable, McpSignInFailed. Whatever fails, the grant stays,
        unless it is refused.
        """
        for poll in range(MAX_POLLS):
            taken = await retry_transaction(
                self.database, self._claim, server, user_id, rejected, is_first=poll == 0
            )
            if isinstance(taken, Grant):
                return taken.access_token
            if taken is not None:
                return await self._redeem(server, user_id, taken)
            await asyncio.sleep(POLL_SECONDS)
        raise unavailable()

    async def _claim(
        self,
        session: AsyncSession,
        server: RegisteredServer,
        user_id: str,
        rejected: str | None,
        *,
        is_first: bool,
    ) -> Grant | Claim | None:
        """Return a grant that need not be refreshed, a claim, or nothing while another task has one.

        Raises McpSignInRequired, and McpServerUnavailable where the task that this one waited for has failed.
        """
        row = await find(session, server, user_id, lock=True)
        grant = await self.grants.find(session, server, row)
        if row is None or grant is None:
            raise sign_in_required(server)
        if grant.is_usable(rejected):
            return grant
        if not is_first and row.refresh_lease_expires_at is None:
            raise unavailable()
        expires_at = await take_lease(session, row)
        return None if expires_at is None else Claim(grant, expires_at)

    async def _redeem(self, server: RegisteredServer, user_id: str, claim: Claim) -> str:
        new: Grant | None = None
        refusal: GrantRefused | None = None
        try:
            new = await oauth_client.refresh(self.http, claim.grant)
        except GrantRefused as error:
            refusal = error
        finally:
            # A refresh token that is redeemed and not replaced here would be taken for a stolen one.
            current = await retry_transaction(
                self.database, self._settle, server, user_id, claim, refusal or new
            )
        if current is not None:
            return current.access_token
        if new is not None:
            # The person has signed out meanwhile.
            with suppress(ServiceError, GrantRefused):
                await oauth_client.revoke(self.http, new)
        raise sign_in_required(server)

    async def _settle(
        self,
        session: AsyncSession,
        server: RegisteredServer,
        user_id: str,
        claim: Claim,
        result: Grant | GrantRefused | None,
    ) -> Grant | None:
        """Release the lease, and store the result; return the grant as it is then.

        The result is of no use where the person has signed in anew or out meanwhile, or another replica has
        refreshed, because this one was thought dead.
        """
        row = await find(session, server, user_id, lock=True)
        current = await self.grants.find(session, server, row)
        if row is not None and row.refresh_lease_expires_at == claim.expires_at:
            row.refresh_lease_expires_at = None
        if row is None or current != claim.grant or result is None:
            return current
        if isinstance(result, Grant):
            await self.grants.store(session, row, result)
            return result
        row.state = "needs_login"
        await secrets.remove(session, server.tenant_id, str(row.id), kind=GRANT)
        await forget_client(session, server, result)
        return None


async def take_lease(session: AsyncSession, row: McpSignIn) -> datetime | None:
    """Return until when the caller refreshes; nothing while another one does."""
    until = McpSignIn.refresh_lease_expires_at
    free = update(McpSignIn).where(McpSignIn.id == row.id, or_(until.is_(None), until < func.now()))
    taken = free.values(refresh_lease_expires_at=func.now() + LEASE).returning(until)
    return (await session.scalars(taken, execution_options={"synchronize_session": False})).one_or_none()


def unavailable() -> McpServerUnavailable:
    """Return the error of a token that no replica could refresh."""
    return McpServerUnavailable("The authorization server does not answer.")


def sign_in_required(server: RegisteredServer) -> McpSignInRequired:
    """Return the error of a call that nobody has signed in for."""
    return McpSignInRequired(f"The person has to sign in for the MCP server {server.name!r} first.")
