"""How much may be kept: checked after it is written and before it is committed, so that it is counted once.

A person's row is locked by what counts it, so that their own limits are exact. A tenant's total is the sum of
its people's rows. Far from the limit it is looked at now and then, and nobody waits for anybody; near to it,
the tenant's writers take turns, and each sees what the others have committed.
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

# How far from its limit a tenant is when nothing that is under way elsewhere can take it there.
FAR = {"conversations_per_tenant": 1_000, "bytes_per_tenant": 1024 * MIB}
FAR_SECONDS = 2.0
MOST_TENANTS = 10_000
# A run that has begun may go so much over, to keep what it has said.
RUN_FACTOR = 1.25

TAKE_TURNS = text("select pg_advisory_xact_lock(hashtextextended(:name, 0))")


class Size(NamedTuple):
    """How much a conversation keeps."""

    tenant_id: UUID
    items: int
    bytes: int


class Quotas:
    """Refuses what goes beyond the limits; raises ConversationLimitReached."""

    def __init__(self, limits: ConversationLimits) -> None:
        self._limits = limits.model_dump()
        self._far_until: dict[UUID, float] = {}

    async def check_new_conversation(self, session: AsyncSession, caller: Principal) -> None:
        """Check after a conversation was added."""
        theirs = (Usage.tenant_id == caller.tenant_id, Usage.user_id == caller.subject)
        count = await session.scalar(select(Usage.conversations).where(*theirs)) or 0
        self._check("conversations_per_person", count)
        await self._check_tenant(session, caller.tenant_id, "conversations_per_tenant")

    async def check_new_items(self, session: AsyncSession, size: Size, factor: float = 1) -> None:
        """Check after items were added to a conversation, which has this size by now."""
        self._check("items_per_conversation", size.items, factor)
        self._check("bytes_per_conversation", size.bytes, factor)
        await self._check_tenant(session, size.tenant_id, "bytes_per_tenant", factor)

    async def _check_tenant(
        self, session: AsyncSession, tenant_id: UUID | None, name: str, factor: float = 1
    ) -> None:
        if tenant_id is None or time.monotonic() < self._far_until.get(tenant_id, 0):
            return
        if self._is_far(await total(session, tenant_id)):
            self._remember(tenant_id)
            return
        await session.execute(TAKE_TURNS, {"name": f"quota:{tenant_id}"})
        self._check(name, (await total(session, tenant_id))[name], factor)

    def _check(self, name: str, used: int, factor: float = 1) -> None:
        if used > self._limits[name] * factor:
            raise ConversationLimitReached(name, self._limits[name])

    def _is_far(self, used: dict[str, int]) -> bool:
        return all(used[name] + margin < self._limits[name] for name, margin in FAR.items())

    def _remember(self, tenant_id: UUID) -> None:
        if len(self._far_until) >= MOST_TENANTS:
            self._far_until.clear()
        self._far_until[tenant_id] = time.monotonic() + FAR_SECONDS


async def total(session: AsyncSession, tenant_id: UUID) -> dict[str, int]:
    """Return how much all people of a tenant keep."""
    sums = select(func.sum(Usage.conversations), func.sum(Usage.bytes)).where(Usage.tenant_id == tenant_id)
    conversations, size = (await session.execute(sums)).one()
    return {"conversations_per_tenant": int(conversations or 0), "bytes_per_tenant": int(size or 0)}


def quotas_of(request: Request) -> Quotas:
    """Return the quotas of the app that answers."""
    quotas: Quotas = request.app.state.quotas
    return quotas


CurrentQuotas = Annotated[Quotas, Depends(quotas_of)]
