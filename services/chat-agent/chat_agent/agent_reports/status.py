"""How an agent is used in a tenant: one query over its runs, in total and by version."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from servicekit.auth.tokens import Principal
from sqlalchemy import RowMapping, bindparam, text
from sqlalchemy.dialects.postgresql import TIMESTAMP
from sqlalchemy.ext.asyncio import AsyncSession

from chat_agent.agent_reports.faults import fault_of
from chat_agent.agent_reports.schemas import AgentState, AgentStatus, AgentUsage, Period, VersionUsage

# The most runs that one report counts, so that no tenant's report takes the database longer than seconds.
MAX_RUNS = 100_000

# A run counts for the agent that it began with, and for the one that it was handed over to at last: of each
# kind, an index has them by time.
RUNS = """
    (select {columns}, false as handed_over from runs
    where tenant_id = :tenant and agent = :agent and created_at >= :since and created_at < :until
    order by created_at desc limit :most)
    union all
    (select {columns}, true from runs
    where tenant_id = :tenant and final_agent = :agent and final_agent <> agent
        and created_at >= :since and created_at < :until
    order by created_at desc limit :most)
"""
COLUMNS = """
    created_at, status, conversation_id, cost,
    cast(usage ->> 'input_tokens' as bigint) as input_tokens,
    cast(usage ->> 'cached_tokens' as bigint) as cached_tokens,
    cast(usage ->> 'output_tokens' as bigint) as output_tokens,
    cast(usage ->> 'reasoning_tokens' as bigint) as reasoning_tokens,
    case when status = 'failed' then coalesce(error_code, 'internal_error') end as code,
    extract(epoch from ended_at - started_at) * 1000 as duration,
    jsonb_path_query_first(
        agent_versions, '$[*] ? (@.name == $name)', jsonb_build_object('name', cast(:agent as text))
    ) as entry
"""
SUMS = f"""
with counted as (
    select created_at, status, conversation_id, cost, code, duration, handed_over,
        input_tokens, cached_tokens, output_tokens, reasoning_tokens,
        cast(entry ->> 'number' as integer) as version, entry ->> 'digest' as digest
    from ({RUNS.format(columns=COLUMNS)}) as newest
    order by created_at desc limit :most
)
select
    version, digest, code,
    case grouping(digest, code) when 3 then 'total' when 1 then 'version' else 'code' end as sums,
    count(*) as runs,
    count(*) filter (where handed_over) as handed_over,
    count(*) filter (where status in ('queued', 'running', 'waiting')) as unfinished,
    count(*) filter (where status = 'completed') as completed,
    count(*) filter (where status = 'cancelled') as cancelled,
    count(*) filter (where status = 'failed') as failed,
    count(distinct conversation_id) as conversations,
    min(created_at) as first_used,
    max(created_at) as last_used,
    percentile_cont(array[0.5, 0.95]) within group (order by duration)
        filter (where status = 'completed') as durations,
    coalesce(sum(input_tokens), 0) as input_tokens,
    coalesce(sum(cached_tokens), 0) as cached_tokens,
    coalesce(sum(output_tokens), 0) as output_tokens,
    coalesce(sum(reasoning_tokens), 0) as reasoning_tokens,
    sum(cost) as cost,
    count(*) filter (where status in ('completed', 'failed', 'cancelled') and cost is null) as unpriced_runs
from counted
group by grouping sets ((), (version, digest), (version, digest, code))
"""  # noqa: S608  # all of it is ours
NEWEST = f"select max(created_at) from ({RUNS.format(columns='created_at')}) as newest"  # noqa: S608
MOMENTS = [bindparam(name, type_=TIMESTAMP(timezone=True)) for name in ("since", "until")]
LAST_MOMENT = datetime.max.replace(tzinfo=UTC)
FIRST_MOMENT = datetime.min.replace(tzinfo=UTC)


async def agent_status(  # noqa: PLR0913  # who asks for what
    session: AsyncSession, caller: Principal, name: str, state: AgentState, period: Period, *, is_full: bool
) -> AgentStatus:
    """Return how an agent is used in the caller's tenant; unless `is_full`, no failures, tokens and cost."""
    since = period.begin()
    values: dict[str, Any] = {"tenant": caller.tenant_id, "agent": name}
    query = values | {"since": since, "until": period.until or LAST_MOMENT, "most": MAX_RUNS}
    rows = (await session.execute(text(SUMS).bindparams(*MOMENTS), query)).mappings().all()
    total = next(row for row in rows if row["sums"] == "total")
    is_complete = total["runs"] < MAX_RUNS
    ever = values | {"since": FIRST_MOMENT, "until": LAST_MOMENT, "most": 1}
    return AgentStatus(
        name=name,
        status=state,
        last_used=await session.scalar(text(NEWEST).bindparams(*MOMENTS), ever),
        total_conversations=total["conversations"],
        since=since if is_complete else total["first_used"],
        until=period.until,
        complete=is_complete,
        total=usage_of(total, rows) if is_full else None,
        versions=by_version(rows) if is_full else None,
    )


def by_version(rows: Sequence[RowMapping]) -> list[VersionUsage]:
    """Return what the runs of each version come to, the version that was used last first."""
    versions = sorted(
        (row for row in rows if row["sums"] == "version"), key=lambda row: row["last_used"], reverse=True
    )
    return [
        VersionUsage(
            version=row["version"],
            digest=row["digest"],
            **usage_of(row, [one for one in rows if key_of(one) == key_of(row)]).model_dump(),
        )
        for row in versions
    ]


def key_of(row: RowMapping) -> tuple[int | None, str | None]:
    """Return which version a row is of."""
    return row["version"], row["digest"]


def usage_of(sums: RowMapping, rows: Sequence[RowMapping]) -> AgentUsage:
    """Build what runs come to from their sums, and from the rows that count their errors."""
    failures, codes = dict[str, int](), dict[str, int]()
    for row in rows:
        if row["sums"] == "code" and row["code"] is not None:
            fault = fault_of(row["code"])
            failures[fault] = failures.get(fault, 0) + row["runs"]
            codes[row["code"]] = codes.get(row["code"], 0) + row["runs"]
    p50, p95 = sums["durations"] or (None, None)
    values: dict[str, Any] = {name: sums[name] for name in AgentUsage.model_fields if name in sums}
    values |= {"failures": failures, "error_codes": codes}
    values |= {"duration_p50_ms": whole(p50), "duration_p95_ms": whole(p95)}
    if sums["cost"] is None and not sums["unpriced_runs"]:
        values["cost"] = 0  # no run has ended: nothing was spent, and that is known
    return AgentUsage.model_validate(values)


def whole(milliseconds: float | None) -> int | None:
    """Return whole milliseconds."""
    return None if milliseconds is None else round(milliseconds)
