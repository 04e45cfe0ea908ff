"""Lists and totals of runs: of one user, or of a tenant."""

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
from chat_agent.runs.schemas import RunFilter, RunPage, RunSummary, RunTotals
from chat_agent.schemas import Moment

Ts = TypeVarTuple("Ts")

CURSOR_VALUES = TypeAdapter(tuple[Moment, UUID])

TENANT_RUNS_PERMISSION = "tenant:manage"


class TenantRunsForbidden(Forbidden):
    """The caller may not list the runs of all users."""

    default_detail = "Only owners and admins can list the runs of all users of the tenant."


async def list_runs(session: AsyncSession, caller: Principal, query: RunPage) -> Page[RunSummary]:
    """List runs, the newest first; raises TenantRunsForbidden, InvalidCursor."""
    order = (Run.created_at, Run.id)
    statement = visible_to(select(Run), caller, query).order_by(*(column.desc() for column in order))
    if not query.include_superseded:
        statement = statement.where(Run.superseded_by.is_(None))
    if query.cursor is not None:
        statement = statement.where(tuple_(*order) < tuple_(*parse_cursor(query.cursor)))
    rows = (await session.scalars(statement.limit(query.limit + 1))).all()
    items = [RunSummary.model_validate(row) for row in rows[: query.limit]]
    return Page(items=items, next_cursor=next_cursor([(row.created_at, row.id) for row in rows], query.limit))


def parse_cursor(cursor: str) -> tuple[datetime, UUID]:
    """Read the values after which a page begins; raises InvalidCursor."""
    try:
        return CURSOR_VALUES.validate_python(decode_cursor(cursor, str, str))
    except ValueError as error:
        raise InvalidCursor from error


def next_cursor(keys: Sequence[tuple[datetime, UUID]], limit: int) -> str | None:
    """Build the cursor of the next page; `keys` has one more than this page shows, or there is no next."""
    if len(keys) <= limit:
        return None
    created_at, id_ = keys[limit - 1]
    return encode_cursor(created_at.isoformat(), str(id_))


async def sum_usage(session: AsyncSession, caller: Principal, filters: RunFilter) -> list[RunTotals]:
    """Sum runs up by their first model and their status, time in milliseconds; raises TenantRunsForbidden."""
    duration = extract("epoch", Run.ended_at - Run.started_at) * 1000
    sums = select(
        Run.model,
        Run.status,
        func.count(Run.id),
        sum_tokens("input_tokens"),
        sum_tokens("output_tokens"),
        sum_tokens("cached_tokens"),
        func.coalesce(func.sum(Run.cost), 0),
        func.count(Run.ended_at).filter(Run.cost.is_(None)),
        cast(func.coalesce(func.sum(duration), 0), BigInteger),
    ).group_by(Run.model, Run.status)
    rows = await session.execute(visible_to(sums, caller, filters).order_by(Run.model, Run.status))
    return [
        RunTotals.model_validate(dict(zip(RunTotals.model_fields, row, strict=True))) for row in rows.all()
    ]


def sum_tokens(name: str) -> ColumnElement[int]:
    """Sum one kind of tokens."""
    return func.coalesce(func.sum(cast(Run.usage[name].astext, BigInteger)), 0)


def visible_to(statement: Select[*Ts], caller: Principal, filters: RunFilter) -> Select[*Ts]:
    """Narrow a query to runs that match and that the caller may see; raises TenantRunsForbidden."""
    statement = statement.where(Run.tenant_id == caller.tenant_id)
    if filters.scope == "me":
        statement = statement.where(Run.user_id == caller.user_id)
    elif not allows(TENANT_RUNS_PERMISSION, caller.role, caller.scopes):
        raise TenantRunsForbidden
    conditions = {
        Run.user_id: filters.user_id,
        Run.conversation_id: filters.conversation_id,
        Run.agent: filters.agent,
    }
    statement = statement.where(
        *(column == value for column, value in conditions.items() if value is not None)
    )
    if filters.status:
        statement = statement.where(Run.status.in_(filters.status))
    if filters.since is not None:
        statement = statement.where(Run.created_at >= filters.since)
    if filters.until is not None:
        statement = statement.where(Run.created_at < filters.until)
    return statement
