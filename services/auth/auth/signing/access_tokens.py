"""Access tokens (RFC 9068): their claims, and how they are signed. They contain no name and no address."""

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Self
from uuid import UUID, uuid4

from pydantic import JsonValue
from servicekit.auth.permissions import Role, scopes_for

from auth.models import Session, User
from auth.settings import Settings
from auth.signing.sign import sign_token
from auth.signing.signing_keys import SigningKeys
from auth.signing.vault import Vault

# All people's clients are ours for now; an application that registers itself will go by its own id.
FIRST_PARTY_CLIENT = "acme-web"


@dataclass(frozen=True)
class IssuedAccessToken:
    """A token in its serialized form."""

    token: str
    kid: str
    expires_at: datetime
    scopes: list[str]
    # In seconds.
    lifetime: int


@dataclass(frozen=True, kw_only=True)
class MachineClient:
    """A machine and its rights; role and tenant go together. `until` is the latest expiry of its tokens."""

    client_id: str
    audience: str
    scopes: Collection[str]
    tenant_id: UUID | None
    role: Role
    until: int


@dataclass(frozen=True)
class AccessTokens:
    """Issues tokens to people and to machines."""

    keys: SigningKeys
    vault: Vault
    issuer: str
    audience: str
    lifetime: timedelta
    clock: Callable[[], float] = time.time

    @classmethod
    def from_settings(cls, settings: Settings, keys: SigningKeys, vault: Vault) -> Self:
        """Build from the settings; `vault` signs with the keys that it keeps."""
        lifetime = timedelta(minutes=settings.access_token_expire_minutes)
        return cls(keys, vault, settings.auth_issuer, settings.auth_audience, lifetime)

    async def for_user(self, user: User, session: Session, role: Role | None) -> IssuedAccessToken:
        """Issue a token for a session with all scopes of the role; without a role, for no tenant."""
        tenant = {"tenant_id": str(session.tenant_id), "role": role.value} if role else {}
        return await self._sign(
            sorted(scopes_for(role)) if role else [],
            {
                **tenant,
                "aud": self.audience,
                "sub": user.subject,
                "client_id": FIRST_PARTY_CLIENT,
                "sid": str(session.id),
                "email_verified": user.email_verified_at is not None,
                "amr": list(session.amr),
                "auth_time": int(session.authenticated_at.timestamp()),
            },
            # No token outlives its session.
            until=int(session.expires_at.timestamp()),
        )

    async def for_service(self, client_id: str, audience: str, scopes: Collection[str]) -> IssuedAccessToken:
        """Issue a token with which one service calls one other; each call names on whose behalf."""
        machine: dict[str, JsonValue] = {"sub": f"service:{client_id}", "client_id": client_id}
        return await self._sign(sorted(scopes), {**machine, "aud": audience})

    async def for_machine(self, machine: MachineClient) -> IssuedAccessToken:
        """Issue a token to a machine of a tenant: its scopes decide, within what its role may do."""
        claims: dict[str, JsonValue] = {
            "sub": f"service:{machine.client_id}",
            "client_id": machine.client_id,
            "aud": machine.audience,
        }
        if machine.tenant_id:
            claims |= {"tenant_id": str(machine.tenant_id), "role": machine.role.value}
        return await self._sign(sorted(machine.scopes), claims, until=machine.until)

    async def _sign(
        self, scopes: list[str], claims: dict[str, JsonValue], *, until: int | None = None
    ) -> IssuedAccessToken:
        key = await self.keys.current()
        now = int(self.clock())
        longest = now + int(self.lifetime.total_seconds())
        expires = min(longest, max(until, now + 1)) if until else longest
        common: dict[str, JsonValue] = {
            "iss": self.issuer,
            "iat": now,
            "nbf": now,
            "exp": expires,
            "jti": str(uuid4()),
            **({"scope": " ".join(scopes)} if scopes else {}),
        }
        token = await sign_token(key, {**common, **claims}, self.vault)
        return IssuedAccessToken(token, key.kid, datetime.fromtimestamp(expires, UTC), scopes, expires - now)
