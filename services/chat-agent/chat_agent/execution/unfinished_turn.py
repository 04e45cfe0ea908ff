"""The turn of a run that ends before its answer is complete: closed, so that it is consistent, or deleted."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from servicekit.database import Database
from servicekit.errors import ServiceError
from sqlalchemy.exc import SQLAlchemyError

from chat_agent.clients.retry import retry_transaction
from chat_agent.event_log.translator import EventTranslator
from chat_agent.execution.session import ConversationSession
from chat_agent.items import answered_calls, is_call
from chat_agent.models import Run, ToolCall
from chat_agent.runs import superseded
from chat_agent.runs.tool_calls import ToolCallJournal, missing_items, output_item

logger = logging.getLogger(__name__)

NOT_EXECUTED = "Not carried out: the run ended first."


@dataclass(frozen=True)
class UnfinishedTurn:
    """What a run has added to its conversation so far."""

    run: Run
    database: Database
    session: ConversationSession
    journal: ToolCallJournal
    translator: EventTranslator

    async def close(self) -> str | None:
        """Store the partial answer, incomplete, and an output for every open call; return its text."""
        partial_text = self.translator.complete_partial()
        text = partial_text or self.translator.last_text
        try:
            await self.session.wait_until_open()
            items = self.session.new_items
            outputs = closing_items(items, await self.journal.unstored_calls(items))
            await self.session.add([*outputs, *incomplete_message(self.run, partial_text)])
        except (ServiceError, SQLAlchemyError, OSError) as error:
            # The run ends all the same, and this must not hide why.
            logger.warning("partial answer not stored", extra={"error": type(error).__name__})
        return text or None

    async def roll_back(self) -> None:
        """Delete the turn with its message; what it had superseded counts again."""
        self.translator.complete_partial()
        await self.session.rollback()
        await retry_transaction(self.database, superseded.unmark, self.run)

    async def withdraw(self) -> None:
        """Delete a message that may not be stored, and what was answered to it."""
        try:
            await self.roll_back()
        except (ServiceError, SQLAlchemyError, OSError) as error:
            logger.warning("message not deleted", extra={"error": type(error).__name__})


def closing_items(items: Sequence[dict[str, Any]], unstored: Sequence[ToolCall]) -> list[dict[str, Any]]:
    """Return an output for every call that has none: the recorded one, or that it was not carried out."""
    outputs = [item for call in unstored for item in missing_items(call, items)]
    closed = answered_calls((*items, *outputs))
    calls = [item["call_id"] for item in items if is_call(item)]
    return [*outputs, *(output_item(id_, NOT_EXECUTED) for id_ in calls if id_ not in closed)]


def incomplete_message(run: Run, text: str) -> list[dict[str, Any]]:
    """Return the item of an answer that was cut off, if there is any text."""
    if not text:
        return []
    part = {"type": "output_text", "text": text, "annotations": []}
    ids = {"id": f"msg_{run.id.hex}_{run.attempt}", "type": "message", "role": "assistant"}
    return [{**ids, "status": "incomplete", "content": [part]}]
