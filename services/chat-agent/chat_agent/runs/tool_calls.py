"""Calls of tools: each is a row, recorded before the call is made; some must not be made twice."""

import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from servicekit.database import Database
from sqlalchemy import Row, String, false, func, literal, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.sql.dml import ReturningInsert

from chat_agent.clients.retry import retry_transaction
from chat_agent.errors import Superseded, ToolOutcomeUnknown
from chat_agent.event_log.translator import redact
from chat_agent.items import answered_calls
from chat_agent.models import FINISHED, Approval, Run, ToolCall
from chat_agent.runs import schemas
from chat_agent.runs.call import Call, CallResult
from chat_agent.runs.leases import owned
from chat_agent.runs.lost_agents import outermost_calls
from chat_agent.runs.nested_calls import NestedCalls

# What the row of a call says when it is made again.
AGAIN: dict[str, Any] = {
    "status": "running",
    "attempt": ToolCall.attempt + 1,
    "begun_at": func.now(),
    "ended_at": None,
    "error": None,
}


@dataclass(frozen=True)
class ToolCallJournal:
    """The calls of one run, as its newest owner may write them."""

    database: Database
    run: Run
    nested: NestedCalls
    # The calls that failed, by id.
    failed: set[str] = field(default_factory=set)
    # The names of the tools that have answered in earlier attempts.
    answered: set[str] = field(default_factory=set)

    async def record(self, call: Call, make: Callable[[], Awaitable[CallResult]]) -> str:
        """Make a call, and return its output; of one that must not be made twice, what came of it before.

        Raises ToolOutcomeUnknown where that is not recorded, Superseded when another worker has the run.
        """
        if not await self._begin(call):
            if call.is_idempotent:
                raise Superseded
            return await self._outcome(call)
        self.nested.called(call)
        start = time.monotonic()
        result = await make()
        milliseconds = round((time.monotonic() - start) * 1000)
        if result.status == "waiting":
            return result.output
        if is_failed := result.status != "completed":
            self.failed.add(call.call_id)
        await self._record_end(call, result, milliseconds)
        self.nested.returned(call, result.output, failed=is_failed)
        return result.output

    async def _begin(self, call: Call) -> bool:
        """Record that a call begins; return whether it may be made."""
        written: list[str] = []

        async def write(session: AsyncSession) -> bool:
            # Where the answer to the commit was lost, the row is that of this call, which is not yet made.
            again = AGAIN if call.is_idempotent else {"begun_at": func.now()} if written else None
            rows = (await session.scalars(self._insert(call, again))).all()
            written.extend(rows)
            return bool(rows)

        return await retry_transaction(self.database, write)

    def _insert(self, call: Call, again: dict[str, Any] | None) -> ReturningInsert[str]:
        # Only the newest owner of a run finds it here: one that was taken for dead begins nothing any more.
        values = {
            "run_id": Run.id,
            "call_id": literal(call.call_id),
            "agent": literal(call.agent),
            "parent_call_id": literal(call.parent_call_id, String),
            "name": literal(call.name),
            "arguments": literal(redact(call.arguments) if call.is_idempotent else call.arguments),
            "is_idempotent": literal(call.is_idempotent),
        }
        new = insert(ToolCall).from_select([*values], select(*values.values()).where(owned(self.run)))
        key = [ToolCall.run_id, ToolCall.call_id]
        if again is None:
            return new.on_conflict_do_nothing().returning(ToolCall.call_id)
        return new.on_conflict_do_update(index_elements=key, set_=again).returning(ToolCall.call_id)

    async def _outcome(self, call: Call) -> str:
        key = self.run.id, call.call_id
        stored = await retry_transaction(self.database, lambda session: session.get(ToolCall, key))
        if stored is None or stored.output is None:
            raise ToolOutcomeUnknown(outcome_unknown_message(call.name))
        return stored.output

    async def _record_end(self, call: Call, result: CallResult, milliseconds: int) -> None:
        this = update(ToolCall).where(ToolCall.run_id == self.run.id, ToolCall.call_id == call.call_id)
        values = {
            "status": result.status,
            "error": result.error,
            "output_bytes": len(result.output.encode()),
            "duration_ms": milliseconds,
            "output": None if call.is_idempotent else result.output,
            "ended_at": func.now(),
        }
        await retry_transaction(self.database, lambda session: session.execute(this.values(values)))

    async def load_earlier(self) -> None:
        """Load which tools have answered in earlier attempts, and which calls have failed."""
        query = select(ToolCall.call_id, ToolCall.name, ToolCall.status).where(
            ToolCall.run_id == self.run.id, ToolCall.status != "running"
        )

        async def load(session: AsyncSession) -> Sequence[Row[str, str, str]]:
            return (await session.execute(query)).all()

        for call_id, name, status in await retry_transaction(self.database, load):
            self.answered.add(name)
            if status in {"failed", "timed_out"}:
                self.failed.add(call_id)

    async def unstored_calls(self, items: Sequence[dict[str, Any]]) -> list[ToolCall]:
        """List the calls not to be repeated that were begun and whose output is not among what is stored.

        Nested ones are in the output of the agent's call within which they were made.
        """
        stored = answered_calls(items)
        calls = await retry_transaction(self.database, self._unrepeatable)
        return [call for call in calls if call.call_id not in stored]

    async def _unrepeatable(self, session: AsyncSession) -> list[ToolCall]:
        all_calls = select(ToolCall).where(ToolCall.run_id == self.run.id)
        query = all_calls.where(ToolCall.is_idempotent == false()).order_by(ToolCall.begun_at)
        calls = list(await session.scalars(query))
        if all(call.parent_call_id is None for call in calls):
            return calls
        by_id = {call.call_id: call for call in await session.scalars(all_calls)}
        return outermost_calls(calls, by_id)


async def list_for_run(session: AsyncSession, run: Run) -> list[schemas.ToolCallRecord]:
    """Return the calls of a run, oldest first, with who approved them."""
    this_call = (Approval.run_id == ToolCall.run_id) & (Approval.call_id == ToolCall.call_id)
    query = (
        select(ToolCall, Approval.decided_by)
        .outerjoin(Approval, this_call)
        .where(ToolCall.run_id == run.id)
        .order_by(ToolCall.begun_at, ToolCall.call_id)
    )
    return [to_schema(run, call, approved_by) for call, approved_by in await session.execute(query)]


def to_schema(run: Run, call: ToolCall, approved_by: str | None) -> schemas.ToolCallRecord:
    """Return a call as it is read by the owner of its run."""
    changes = {"arguments": redact(call.arguments), "approved_by": approved_by}
    if call.status == "running" and run.status in FINISHED:
        changes["status"] = "interrupted"
    names = schemas.ToolCallRecord.model_fields.keys() - changes.keys()
    return schemas.ToolCallRecord(**{name: getattr(call, name) for name in names}, **changes)


def outcome_unknown_message(name: str) -> str:
    """Return the message about a call whose outcome is unknown."""
    return f"The process that called {name} was lost, and nobody knows whether it was done."


def missing_items(call: ToolCall, items: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Build the items that the SDK would have stored for a call, as far as they are missing."""
    call_item = {
        "type": "function_call",
        "call_id": call.call_id,
        "name": call.name,
        "arguments": call.arguments,
    }
    output = call.output if call.output is not None else outcome_unknown_message(call.name)
    missing = [call_item] if all(item.get("call_id") != call.call_id for item in items) else []
    return [*missing, output_item(call.call_id, output)]


def output_item(call_id: str, output: str) -> dict[str, Any]:
    """Build the item of a call's output."""
    return {"type": "function_call_output", "call_id": call_id, "output": output}
