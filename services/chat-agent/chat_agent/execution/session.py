"""The session of the Agents SDK over the conversation service: the items of a run are its progress."""

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any, cast
from uuid import UUID

from agents import TResponseInputItem
from agents.memory import SessionABC
from agents.memory.session_settings import SessionSettings
from servicekit.auth.end_users import application_of
from servicekit.errors import ServiceError

from chat_agent.clients.conversation import ConversationClient, StoredItem, TurnRef
from chat_agent.clients.retry import retry_unavailable
from chat_agent.compaction.block import summary_block
from chat_agent.errors import ConversationNotFound
from chat_agent.execution.history import difference
from chat_agent.items import answered_calls, is_call
from chat_agent.models import Run
from chat_agent.settings import Settings

logger = logging.getLogger(__name__)

# About as long as a model takes to send its first token.
OPEN_DELAY_SECONDS = 0.02
# As many items as the conversation service returns at once: the next attempt needs all of the run's own.
MAX_ITEMS = 1000
# The roles of initial items; all other items come from the agents.
INPUT_ROLES = frozenset({"user", "system", "developer"})

# An item that no run has stored has another id.
RUN_OF_ITEM = re.compile(r"^([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})-")


class ConversationSession(SessionABC):
    """The SDK's Session over the conversation service, for one run.

    Items get ids made of the run's id and their number in the run, so that storing one again changes nothing,
    and the next attempt finds what was done. Raises Superseded once there is one.
    """

    session_settings: SessionSettings | None = None

    def __init__(
        self,
        conversations: ConversationClient,
        run: Run,
        settings: Settings,
        before_store: Callable[[], Awaitable[None]],
        on_stored: Callable[[], Awaitable[None]],
    ) -> None:
        self.session_id = str(run.conversation_id)
        self._timeout = settings.conversation_timeout_seconds
        self._client = conversations
        is_end_users = application_of(run.user_id) != run.user_id
        begun_at = run.created_at if is_end_users else None
        self._turn = TurnRef(run.conversation_id, run.id, run.attempt, begun_at)
        self._max_earlier = settings.history_items
        self._before_store = before_store
        self._on_stored = on_stored
        self._expires_at = expiry_of(run, settings)
        # Whether it reads a summary in place of the items that this stands for.
        self.is_compacted = False
        self._summary: StoredItem | None = None
        self._earlier: list[StoredItem] = []
        self._initial = initial_items(run)
        self._replaced_history = run.prelude if run.replaces_history else None
        # The runs whose items are superseded by this one's.
        self.superseded_runs: set[UUID] = set()
        self._new: list[StoredItem] = []
        self._open_timeout: float | None = None
        self._opening: asyncio.Task[None] | None = None

    def open_in_background(self, timeout_seconds: float) -> None:
        """Start the agents at once in a new conversation, which has nothing to read.

        The initial items are stored a moment later, when the model has been called.
        """
        self._open_timeout = timeout_seconds
        asyncio.get_running_loop().call_later(OPEN_DELAY_SECONDS, self._start_opening)

    def _start_opening(self) -> None:
        if self._open_timeout is not None:
            self._opening = asyncio.create_task(self.open(self._open_timeout))
            # A failure is raised where the first item is added.
            self._opening.add_done_callback(lambda task: task.cancelled() or task.exception())
            self._open_timeout = None

    async def wait_until_open(self) -> None:
        """Wait until the initial items are stored; raises ConversationUnavailable."""
        self._start_opening()
        if self._opening is not None:
            await self._opening

    async def open(self, timeout_seconds: float) -> None:
        """Store the initial items unless they exist, and read the earlier ones."""
        supersedes_after = None
        if self._replaced_history is not None:
            supersedes_after = await self._replace_history(self._replaced_history, timeout_seconds)
        initial = self._numbered(self._initial, 1)
        last = self._max_earlier if self._turn.attempt == 1 else MAX_ITEMS
        items = await retry_unavailable(
            lambda: self._client.open_turn(
                self._turn, initial, last, self._expires_at, supersedes_after, compacted=self.is_compacted
            ),
            timeout_seconds,
        )
        self._summary = items.pop(0) if items and items[0].kind == "summary" else None
        own, initial_ids = f"{self._turn.run_id}-", {item.id for item in initial}
        self._earlier = [item for item in items if not item.id.startswith(own)][-self._max_earlier :]
        self._new = [item for item in items if item.id.startswith(own) and item.id not in initial_ids]

    async def _replace_history(self, history: list[dict[str, Any]], timeout_seconds: float) -> int | None:
        """Add the client's items that are not stored; return the position after which stored ones differ.

        The result is the same in every attempt: what an earlier one has superseded is read again.
        """
        conversation_id, run_id = self._turn.conversation_id, self._turn.run_id
        try:
            stored = await retry_unavailable(
                lambda: self._client.items(conversation_id, MAX_ITEMS, superseded_by=self._turn.run_id),
                timeout_seconds,
            )
        except ConversationNotFound:  # deleted; it is created again, as for any run
            return None
        earlier = [item for item in stored if not item.id.startswith(f"{run_id}-")]
        if len(stored) == MAX_ITEMS:  # its beginning cannot be compared
            return None
        unchanged, added = difference(history, [item.data for item in earlier])
        self._initial = [item for item in added if item not in self._initial] + self._initial
        if unchanged == len(earlier):
            return None
        self.superseded_runs = {
            UUID(run_id) for item in earlier[unchanged:] for run_id in RUN_OF_ITEM.findall(item.id)
        }
        return earlier[unchanged - 1].position if unchanged else 0

    @property
    def input_items(self) -> list[TResponseInputItem]:
        """Return the initial items, unless the run has stored others since."""
        return [] if self._new else drop_unpaired_calls(self._initial, [one.data for one in self._earlier])

    @property
    def new_items(self) -> list[dict[str, Any]]:
        """Return the items that the run has stored after the initial ones."""
        return [item.data for item in self._new]

    @property
    def size(self) -> int:
        """Return about how many characters all items have."""
        return sum(len(str(item.data)) for item in (*self._earlier, *self._new)) + len(str(self._initial))

    @property
    def item_count(self) -> int:
        """Return how many items there are after the summary."""
        return len(self._earlier) + len(self._initial) + len(self._new)

    @property
    def new_summary(self) -> StoredItem | None:
        """Return the summary if no run has begun since it was stored."""
        summary = self._summary
        if summary is None:
            return None
        since = [item.id for item in self._earlier if item.position > summary.position]
        return None if any(one.endswith(item_id("", 1)) for one in since) else summary

    async def visible_items(self) -> list[TResponseInputItem]:
        """Return all that the model sees: the history, and the items that the run begins with."""
        return [*await self.get_items(), *self.input_items]

    async def get_items(self, limit: int | None = None) -> list[TResponseInputItem]:
        """Return the history, oldest first: the newest `limit` earlier items, and the run's own."""
        earlier = [item.data for item in self._earlier[-(limit or self._max_earlier) :]]
        if self._summary is not None:
            earlier.insert(0, summary_block(self._summary.data["text"]))
        if self._new:
            return drop_unpaired_calls([*earlier, *self._initial, *self.new_items])
        return drop_unpaired_calls(earlier, self._initial)

    async def add_items(self, items: list[TResponseInputItem]) -> None:
        """Store new items of the agents; the initial ones are stored already."""
        known_calls = {call for item in self.new_items if (call := call_key(item))}
        dicts = [without_logprobs(dict(item)) for item in items if item not in self._initial]
        new = [
            one for one in dicts if one.get("role") not in INPUT_ROLES and call_key(one) not in known_calls
        ]
        if new:
            await self._before_store()
            await self.add(new)
            await self._on_stored()

    async def add(self, items: Sequence[dict[str, Any]]) -> None:
        """Append items to the turn."""
        if not items:
            return
        await self.wait_until_open()
        numbered = self._numbered(items, len(self._initial) + len(self._new) + 1)
        await retry_unavailable(lambda: self._client.append(self._turn, numbered), self._timeout)
        self._new += numbered

    async def rollback(self) -> None:
        """Delete all items of the run, also the initial ones."""
        await self.wait_until_open()
        await retry_unavailable(lambda: self._client.delete_turn(self._turn), self._timeout)

    async def delete(self) -> None:
        """Delete the conversation of a run that is not stored; it expires where that fails."""
        try:
            await self.wait_until_open()
            with suppress(ConversationNotFound):
                await retry_unavailable(
                    lambda: self._client.delete(self._turn.conversation_id), self._timeout
                )
        except (ServiceError, OSError) as error:
            logger.warning("conversation not deleted", extra={"error": type(error).__name__})

    def _numbered(self, items: Sequence[dict[str, Any]], first: int) -> list[StoredItem]:
        run_id = self._turn.run_id
        return [
            StoredItem(id=item_id(str(run_id), number), data=data) for number, data in enumerate(items, first)
        ]

    async def pop_item(self) -> TResponseInputItem | None:
        """Do nothing: a run is rolled back as a whole."""
        return None

    async def clear_session(self) -> None:
        """Do nothing: a conversation is cleared by its owner."""


def item_id(run_id: str, number: int) -> str:
    """Return the id of an item by its number in the run."""
    return f"{run_id}-{number:04}"


def expiry_of(run: Run, settings: Settings) -> datetime | None:
    """Return when the conversation of a run expires, if it is temporary."""
    if run.persistence == "permanent":
        return None
    # It may wait for approvals. One that is not stored is deleted at its end, by whichever process ends it.
    longest = settings.approval_timeout_seconds + settings.run_timeout_seconds
    hours = settings.temporary_conversation_hours if run.persistence == "temporary" else 0
    return run.created_at + max(timedelta(hours=hours), timedelta(seconds=longest))


def initial_items(run: Run) -> list[dict[str, Any]]:
    """Return the items that a run begins with: a message, or the outputs of its caller's tools."""
    prelude = [] if run.replaces_history else run.prelude
    if run.tool_outputs:
        return [*prelude, *run.tool_outputs]
    return [*prelude, {"type": "message", "role": "user", "content": run.content or run.message}]


def without_logprobs(item: dict[str, Any]) -> dict[str, Any]:
    """Return an item without what is said of its tokens: it is in the log, and of no use to a model."""
    if item.get("role") != "assistant" or not isinstance(item.get("content"), list):
        return item
    parts = [{**part, "logprobs": []} if part.get("logprobs") else part for part in item["content"]]
    return {**item, "content": parts}


def call_key(item: dict[str, Any]) -> tuple[str, str] | None:
    """Return the key of the tool call that an item is, or is the output of."""
    call_id = item.get("call_id")
    return (str(item.get("type")), str(call_id)) if call_id else None


def drop_unpaired_calls(
    items: Sequence[dict[str, Any]], others: Sequence[dict[str, Any]] = ()
) -> list[TResponseInputItem]:
    """Drop calls without output and outputs without call, which models refuse; either may be in `others`."""
    all_ = [*items, *others]
    calls = {item.get("call_id") for item in all_ if is_call(item)}
    outputs = answered_calls(all_)
    paired = {None, *(calls & outputs)}
    return [cast("TResponseInputItem", item) for item in items if item.get("call_id") in paired]
