"""Calls of tools that must not be made twice: each is written down before it is made."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from servicekit.database import Database
from sqlalchemy import func, literal, select, update
from sqlalchemy.dialects.postgresql import insert

from chat_agent.clients.retry import retry_database
from chat_agent.errors import ToolOutcomeUnknown
from chat_agent.models import Run, ToolCall
from chat_agent.runs.leases import owned


@dataclass(frozen=True)
class ToolCallJournal:
    """The calls of one run, as its newest owner may write them."""

    database: Database
    run: Run

    async def call_once(
        self, call_id: str, name: str, arguments: str, call: Callable[[], Awaitable[str]]
    ) -> str:
        """Build a call, or give what came of it; raises ToolOutcomeUnknown when that was not written down."""
        if not await retry_database(lambda: self._record_start(call_id, name, arguments)):
            return await retry_database(lambda: self._outcome(call_id, name))
        output = await call()
        await retry_database(lambda: self._record_output(call_id, output))
        return output

    async def _record_start(self, call_id: str, name: str, arguments: str) -> bool:
        # Only the newest owner of a run finds it here: one that was taken for dead begins nothing any more.
        run = select(Run.id, literal(call_id), literal(name), literal(arguments)).where(owned(self.run))
        columns = ["run_id", "call_id", "name", "arguments"]
        new = insert(ToolCall).from_select(columns, run).on_conflict_do_nothing().returning(ToolCall.call_id)
        async with self.database.begin() as session:
            return (await session.scalars(new)).one_or_none() is not None

    async def _outcome(self, call_id: str, name: str) -> str:
        async with self.database.begin() as session:
            call = await session.get(ToolCall, (self.run.id, call_id))
        if call is None or call.output is None:
            raise ToolOutcomeUnknown(outcome_unknown_message(name))
        return call.output

    async def _record_output(self, call_id: str, output: str) -> None:
        this = update(ToolCall).where(ToolCall.run_id == self.run.id, ToolCall.call_id == call_id)
        async with self.database.begin() as session:
            await session.execute(this.values(output=output, ended_at=func.now()))

    async def unstored_calls(self, items: Sequence[dict[str, Any]]) -> list[ToolCall]:
        """List the calls that were begun and whose output is not among what is stored."""
        stored = {item["call_id"] for item in items if item.get("type") == "function_call_output"}
        return [call for call in await retry_database(self._calls) if call.call_id not in stored]

    async def _calls(self) -> list[ToolCall]:
        query = select(ToolCall).where(ToolCall.run_id == self.run.id).order_by(ToolCall.begun_at)
        async with self.database.begin() as session:
            return list(await session.scalars(query))


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
    """Build the item that says what came of a call."""
    return {"type": "function_call_output", "call_id": call_id, "output": output}
