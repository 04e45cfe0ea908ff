"""Calls of tools that must not be made twice: each is written down before it is made."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from servicekit.database import Database
from sqlalchemy import func, literal, select, update
from sqlalchemy.dialects.postgresql import insert

from chat_agent.clients.retry import through_outages
from chat_agent.errors import ToolOutcomeUnknown
from chat_agent.models import RUNNING, Run, ToolCall


@dataclass(frozen=True)
class Journal:
    """The calls of one run, as its newest owner may write them."""

    database: Database
    run: Run

    async def once(self, call_id: str, name: str, arguments: str, make: Callable[[], Awaitable[str]]) -> str:
        """Make a call, or give what came of it; raises ToolOutcomeUnknown when that was not written down."""
        if not await through_outages(lambda: self._begin(call_id, name, arguments)):
            return await through_outages(lambda: self._outcome(call_id, name))
        output = await make()
        await through_outages(lambda: self._end(call_id, output))
        return output

    async def _begin(self, call_id: str, name: str, arguments: str) -> bool:
        # Only the newest owner of a run finds it here: one that was taken for dead begins nothing any more.
        mine = select(Run.id, literal(call_id), literal(name), literal(arguments)).where(
            Run.id == self.run.id, Run.attempt == self.run.attempt, Run.status == RUNNING
        )
        columns = ["run_id", "call_id", "name", "arguments"]
        new = insert(ToolCall).from_select(columns, mine).on_conflict_do_nothing().returning(ToolCall.call_id)
        async with self.database.begin() as session:
            return (await session.scalars(new)).one_or_none() is not None

    async def _outcome(self, call_id: str, name: str) -> str:
        async with self.database.begin() as session:
            call = await session.get(ToolCall, (self.run.id, call_id))
        if call is None or call.output is None:
            raise ToolOutcomeUnknown(unknown(name))
        return call.output

    async def _end(self, call_id: str, output: str) -> None:
        this = update(ToolCall).where(ToolCall.run_id == self.run.id, ToolCall.call_id == call_id)
        async with self.database.begin() as session:
            await session.execute(this.values(output=output, ended_at=func.now()))

    async def beyond(self, made: Sequence[dict[str, Any]]) -> list[ToolCall]:
        """List the calls that were begun and whose output is not among what is stored."""
        stored = {item["call_id"] for item in made if item.get("type") == "function_call_output"}
        return [call for call in await through_outages(self._all) if call.call_id not in stored]

    async def _all(self) -> list[ToolCall]:
        wanted = select(ToolCall).where(ToolCall.run_id == self.run.id).order_by(ToolCall.begun_at)
        async with self.database.begin() as session:
            return list(await session.scalars(wanted))


def unknown(name: str) -> str:
    """Say what is not known."""
    return f"The process that called {name} was lost, and nobody knows whether it was done."


def items_of(call: ToolCall, made: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Make the items that the SDK would have stored for a call, as far as they are missing."""
    named = {"type": "function_call", "call_id": call.call_id, "name": call.name, "arguments": call.arguments}
    output = call.output if call.output is not None else unknown(call.name)
    missing = [named] if all(item.get("call_id") != call.call_id for item in made) else []
    return [*missing, output_item(call.call_id, output)]


def output_item(call_id: str, output: str) -> dict[str, Any]:
    """Make the item that says what came of a call."""
    return {"type": "function_call_output", "call_id": call_id, "output": output}
