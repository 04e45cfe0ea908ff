"""What runs there were, and what they have used: one person's, or all of a tenant."""

from collections.abc import Sequence
from datetime import datetime
from typing import TypeVarTuple
from uuid import UUID

from pydantic import TypeAdapter
from servicekit.auth.permissions import allows
from servicekit.auth.tokens import Principal
from servicekit.errors import Forbidden
from servicekit.schemas import InvalidCursor, Page, decode_cursor, encode_cursor
from sqlalchemy import BigInteger, ColumnElement, Select, cast, extract, func, select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession

from chat_agent.models import Run
from chat_agent.schemas import Moment, RunFilter, RunPage, RunSummary, RunTotals

Ts = TypeVarTuple("Ts")

PLACE = TypeAdapter(tuple[Moment, UUID])

ALL_OF_A_TENANT = "tenant:manage"


class TenantRunsNotYours(Forbidden):
    """Only who manages a tenant sees the runs of all its people."""

    default_detail = "Only owners and admins see the runs of everybody in the tenant."


async def page(session: AsyncSession, caller: Principal, wanted: RunPage) -> Page[RunSummary]:
    """List runs, the newest first; raises TenantRunsNotYours, BadCursor."""
    order = (Run.created_at, Run.id)
    found = narrowed(select(Run), caller, wanted).order_by(*(column.desc() for column in order))
    if wanted.cursor is not None:
        found = found.where(tuple_(*order) < tuple_(*place(wanted.cursor)))
    rows = (await session.scalars(found.limit(wanted.limit + 1))).all()
    shown = [RunSummary.model_validate(row) for row in rows[: wanted.limit]]
    return Page(items=shown, next_cursor=after(rows, wanted.limit))


def place(cursor: str) -> tuple[datetime, UUID]:
    """Read the values after which a page begins; raises BadCursor."""
    try:
        return PLACE.validate_python(decode_cursor(cursor, str, str))
    except ValueError as error:
        raise InvalidCursor from error


def after(rows: Sequence[Run], limit: int) -> str | None:
    """Make the cursor of the next page; `rows` has one more than this page shows, or there is no next."""
    if len(rows) <= limit:
        return None
    last = rows[limit - 1]
    return encode_cursor(last.created_at.isoformat(), str(last.id))


async def totals(session: AsyncSession, caller: Principal, wanted: RunFilter) -> list[RunTotals]:
    """Sum runs up by the model that was asked first, and by how they ended; raises TenantRunsNotYours."""
    length = extract("epoch", Run.ended_at - Run.started_at) * 1000
    sums = select(
        Run.model,
        Run.status,
        func.count(Run.id),
        tokens("input_tokens"),
        tokens("output_tokens"),
        tokens("cached_tokens"),
        func.coalesce(func.sum(Run.cost), 0),
        func.count(Run.ended_at).filter(Run.cost.is_(None)),
        cast(func.coalesce(func.sum(length), 0), BigInteger),
    ).group_by(Run.model, Run.status)
    rows = await session.execute(narrowed(sums, caller, wanted).order_by(Run.model, Run.status))
    return [
        RunTotals.model_validate(dict(zip(RunTotals.model_fields, row, strict=True))) for row in rows.all()
    ]


def tokens(name: str) -> ColumnElement[int]:
    """Sum one kind of tokens."""
    return func.coalesce(func.sum(cast(Run.usage[name].astext, BigInteger)), 0)


def narrowed(statement: Select[*Ts], caller: Principal, wanted: RunFilter) -> Select[*Ts]:
    """Narrow a query to what the caller may see of what is wanted."""
    statement = statement.where(Run.tenant_id == caller.tenant_id)
    if wanted.of == "me":
        statement = statement.where(Run.user_id == caller.subject)
    elif not allows(ALL_OF_A_TENANT, caller.role, caller.scopes):
        raise TenantRunsNotYours
    conditions = {
        Run.user_id: wanted.user_id,
        Run.conversation_id: wanted.conversation_id,
        Run.agent: wanted.agent,
        Run.status: wanted.status,
    }
    statement = statement.where(
        *(column == value for column, value in conditions.items() if value is not None)
    )
    if wanted.since is not None:
        statement = statement.where(Run.created_at >= wanted.since)
    if wanted.until is not None:
        statement = statement.where(Run.created_at < wanted.until)
    return statement
