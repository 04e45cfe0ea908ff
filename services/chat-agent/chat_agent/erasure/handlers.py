"""What auth tells of people and tenants: who has left for good, and which tenants are no more.

Their runs stop with the event. What is kept of them goes soon after (`forgetting`), of a tenant when its time
is over. Ids of people are not used again, so what comes late of theirs is known to be nobody's.
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
    """Write down that somebody has left, and stop what runs for them."""
    event = await erasure.record_user_deleted(session, received)
    await stop_runs(session, (Run.user_id == event.user_id) | Run.tenant_id.in_(event.tenant_ids))


async def stop_runs_of_tenant(session: AsyncSession, received: ReceivedEvent) -> None:
    """Write down what has become of a tenant, unless newer is known, and stop what runs in a deleted one."""
    event = await erasure.record_tenant_changed(session, received)
    if event is not None and event.purge_after is not None:
        await stop_runs(session, Run.tenant_id == event.tenant_id)


async def stop_runs(session: AsyncSession, condition: ColumnElement[bool]) -> Sequence[Run]:
    """Stop what runs, waits or is next; who works on it hears of it from the row."""
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
