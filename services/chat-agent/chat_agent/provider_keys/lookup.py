"""Which keys of its own a tenant has: read every few seconds, not by every run."""

import time
from collections.abc import Collection
from uuid import UUID

from servicekit.database import Database

from chat_agent.provider_keys import store
from chat_agent.provider_keys.keys import OwnKeys, provider_of
from chat_agent.tenant_secrets.store import Keys

# For that long a replica goes on with a key that another replica has replaced.
CACHE_SECONDS = 5.0
MAX_CACHED = 1000
NONE: OwnKeys = {}


class ProviderKeys:
    """The keys of tenants, cached. A run of a tenant without any costs no statement of its own."""

    def __init__(self, database: Database, keys: Keys) -> None:
        self._database = database
        self._keys = keys
        self._tenants: Collection[UUID] = frozenset()
        self._tenants_until = 0.0
        # Each with the time (monotonic) until which it holds.
        self._cached: dict[UUID, tuple[OwnKeys, float]] = {}

    async def of_tenant(self, tenant_id: UUID | None) -> OwnKeys:
        """Return the keys of a tenant by provider; raises ProviderKeyRefused for one that is unreadable."""
        if not self._keys or tenant_id is None or tenant_id not in await self._tenants_with_keys():
            return NONE
        cached, until = self._cached.get(tenant_id, (NONE, 0.0))
        if time.monotonic() < until:
            return cached
        async with self._database.begin() as session:
            own_keys = await store.read_all(session, self._keys, tenant_id)
        if len(self._cached) >= MAX_CACHED:
            self._cached.clear()
        self._cached[tenant_id] = own_keys, time.monotonic() + CACHE_SECONDS
        return own_keys

    async def has_key_for(self, tenant_id: UUID, model: str) -> bool:
        """Return whether a model is called with a key of the tenant; raises ProviderKeyRefused."""
        provider = provider_of(model)
        return provider is not None and provider in await self.of_tenant(tenant_id)

    async def _tenants_with_keys(self) -> Collection[UUID]:
        if time.monotonic() >= self._tenants_until:
            async with self._database.begin() as session:
                self._tenants = frozenset(await store.tenants(session))
            self._tenants_until = time.monotonic() + CACHE_SECONDS
        return self._tenants

    def forget(self, tenant_id: UUID) -> None:
        """Read the keys of a tenant again, since one was changed here."""
        self._cached.pop(tenant_id, None)
        self._tenants_until = 0.0
