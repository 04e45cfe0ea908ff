"""Reactions to auth's events about deleted users and tenants: their runs stop.

What is stored of a user is erased soon after (`erasure/worker.py`), of a tenant at its `purge_after`. Ids of
users are not used again, so that a late event is known to be of a deleted user.
"""

from collections.abc import Sequence

from servicekit import erasure
from servicekit.erasure import TENANT_EVENTS, USER_EVENT
from servicekit.events.outbox import ReceivedEvent
from servicekit.events.relay import Handler
from sqlalchemy import ColumnElement, select
from sqlalchemy.ext.asyncio import AsyncSession

from chat_agent.models import UNFINISHED, Run
from chat_agent.runs import store


async def stop_runs_of_user(session: AsyncSession, received: ReceivedEvent) -> None:
    """Record that a user was deleted, and stop their runs."""
    event = await erasure.record_user_deleted(session, received)
    await stop_runs(session, (Run.user_id == event.user_id) | Run.tenant_id.in_(event.tenant_ids))


async def stop_runs_of_tenant(session: AsyncSession, received: ReceivedEvent) -> None:
    """Record the state of a tenant, unless a newer one is known, and stop the runs of a deleted one."""
    event = await erasure.record_tenant_changed(session, received)
    if event is not None and event.purge_after is not None:
        await stop_runs(session, Run.tenant_id == event.tenant_id)


async def stop_runs(session: AsyncSession, condition: ColumnElement[bool]) -> Sequence[Run]:
    """Stop unfinished runs; the workers that execute them read it from the row."""
    open_ones = select(Run).where(
        condition,
        Run.status.in_(UNFINISHED),
        Run.stop.is_(None),
    )
    open_runs = (await session.scalars(open_ones.order_by(Run.id).with_for_update())).all()
    for run in open_runs:
        await store.stop(session, run, "cancel")
    return open_runs


HANDLERS: dict[str, Handler] = {
    USER_EVENT: stop_runs_of_user,
    **dict.fromkeys(TENANT_EVENTS, stop_runs_of_tenant),
}
