"""Storage limits: checked after the write and before the commit, so that usage is counted once.

The update of a user's row locks it, so that the limits of a user are exact. The total of a tenant is the sum
of its users' rows. Far from the limit, it is checked now and then, without a lock; near the limit, the
tenant's writers take turns, and each sees what the others have committed.
"""

import time
from typing import Annotated, NamedTuple
from uuid import UUID

from fastapi import Depends, Request
from servicekit.auth.tokens import Principal
from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from conversation.errors import ConversationLimitReached
from conversation.limits import MIB, ConversationLimits
from conversation.models import Usage

# A tenant is far from a limit when what is in progress elsewhere cannot reach it.
MARGINS = {"conversations_per_tenant": 1_000, "bytes_per_tenant": 1024 * MIB}
SKIP_SECONDS = 2.0
MAX_CACHED_TENANTS = 10_000
# A run that has started may exceed the limits by this factor, so that its items are stored.
RUN_FACTOR = 1.25

LOCK_TENANT = text("select pg_advisory_xact_lock(hashtextextended(:name, 0))")


class ConversationSize(NamedTuple):
    """The size of a conversation."""

    tenant_id: UUID
    items: int
    bytes: int


class Quotas:
    """Check the limits; raise ConversationLimitReached."""

    def __init__(self, limits: ConversationLimits) -> None:
        self._limits = limits.model_dump()
        self._skip_until: dict[UUID, float] = {}

    async def check_new_conversation(self, db: AsyncSession, caller: Principal) -> None:
        """Check the limits after a conversation was added."""
        owner = (Usage.tenant_id == caller.tenant_id, Usage.user_id == caller.user_id)
        count = await db.scalar(select(Usage.conversations).where(*owner)) or 0
        self._check("conversations_per_person", count)
        await self._check_tenant(db, caller.tenant_id, "conversations_per_tenant")

    async def check_new_items(self, db: AsyncSession, size: ConversationSize, factor: float = 1) -> None:
        """Check the limits after items were added to a conversation, which now has this size."""
        self._check("items_per_conversation", size.items, factor)
        self._check("bytes_per_conversation", size.bytes, factor)
        await self._check_tenant(db, size.tenant_id, "bytes_per_tenant", factor)

    async def _check_tenant(
        self, db: AsyncSession, tenant_id: UUID | None, name: str, factor: float = 1
    ) -> None:
        if tenant_id is None or time.monotonic() < self._skip_until.get(tenant_id, 0):
            return
        if self._is_well_below(await tenant_usage(db, tenant_id)):
            self._skip_checks(tenant_id)
            return
        await db.execute(LOCK_TENANT, {"name": f"quota:{tenant_id}"})
        self._check(name, (await tenant_usage(db, tenant_id))[name], factor)

    def _check(self, name: str, used: int, factor: float = 1) -> None:
        if used > self._limits[name] * factor:
            raise ConversationLimitReached(name, self._limits[name])

    def _is_well_below(self, used: dict[str, int]) -> bool:
        return all(used[name] + margin < self._limits[name] for name, margin in MARGINS.items())

    def _skip_checks(self, tenant_id: UUID) -> None:
        if len(self._skip_until) >= MAX_CACHED_TENANTS:
            self._skip_until.clear()
        self._skip_until[tenant_id] = time.monotonic() + SKIP_SECONDS


async def tenant_usage(db: AsyncSession, tenant_id: UUID) -> dict[str, int]:
    """Return the storage used by all users of a tenant."""
    sums = select(func.sum(Usage.conversations), func.sum(Usage.bytes)).where(Usage.tenant_id == tenant_id)
    conversations, size = (await db.execute(sums)).one()
    return {"conversations_per_tenant": int(conversations or 0), "bytes_per_tenant": int(size or 0)}


def get_quotas(request: Request) -> Quotas:
    """Return the quotas of the app."""
    quotas: Quotas = request.app.state.quotas
    return quotas


QuotasDep = Annotated[Quotas, Depends(get_quotas)]
