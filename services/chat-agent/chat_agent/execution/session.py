"""A conversation as the Agents SDK wants to remember it: what a run has stored here is how far it is."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, cast

from agents import TResponseInputItem
from agents.memory import SessionABC
from agents.memory.session_settings import SessionSettings

from chat_agent.clients.conversation import ConversationClient, StoredItem, TurnRef
from chat_agent.clients.retry import retry_unavailable
from chat_agent.models import Run
from chat_agent.settings import Settings

# About as long as a model takes to say its first word.
OPEN_DELAY_SECONDS = 0.02
# As many items as the conversation service gives at once: none of a run's own may be missing to who goes on.
MAX_ITEMS = 1000
# Who says what a run begins with; all else is said and done by the agents.
INPUT_ROLES = frozenset({"user", "system", "developer"})


class ConversationSession(SessionABC):
    """The SDK's Session over the conversation service, for one run.

    Items get ids made of the run's id and their number in the run, so that storing one again changes nothing,
    and whoever takes the run over finds what it has done. Raises Superseded once somebody else has.
    """

    session_settings: SessionSettings | None = None

    def __init__(
        self,
        conversations: ConversationClient,
        run: Run,
        settings: Settings,
        on_stored: Callable[[], Awaitable[None]],
    ) -> None:
        self.session_id = str(run.conversation_id)
        self._timeout = settings.conversation_timeout_seconds
        self._client = conversations
        self._turn = TurnRef(run.conversation_id, run.id, run.attempt)
        self._max_earlier = settings.history_items
        self._on_stored = on_stored
        self._earlier: list[StoredItem] = []
        self._initial = initial_items(run)
        self._new: list[StoredItem] = []
        self._open_timeout: float | None = None
        self._opening: asyncio.Task[None] | None = None

    def open_in_background(self, timeout_seconds: float) -> None:
        """Let the agents begin at once, in a conversation that is new: there is nothing to learn in it.

        What the run begins with is kept a moment later, when the model has been asked.
        """
        self._open_timeout = timeout_seconds
        asyncio.get_running_loop().call_later(OPEN_DELAY_SECONDS, self._start_opening)

    def _start_opening(self) -> None:
        if self._open_timeout is not None:
            self._opening = asyncio.create_task(self.open(self._open_timeout))
            # Whoever adds the first item hears of a failure.
            self._opening.add_done_callback(lambda task: task.cancelled() or task.exception())
            self._open_timeout = None

    async def wait_until_open(self) -> None:
        """Wait until what the run begins with is kept; raises ConversationUnavailable."""
        self._start_opening()
        if self._opening is not None:
            await self._opening

    async def open(self, timeout_seconds: float) -> None:
        """Keep what the run begins with, if it is not there yet, and learn what was said and done so far."""
        initial = self._numbered(self._initial, 1)
        last = self._max_earlier if self._turn.attempt == 1 else MAX_ITEMS
        items = await retry_unavailable(
            lambda: self._client.open_turn(self._turn, initial, last), timeout_seconds
        )
        own, initial_ids = f"{self._turn.run_id}-", {item.id for item in initial}
        self._earlier = [item for item in items if not item.id.startswith(own)][-self._max_earlier :]
        self._new = [item for item in items if item.id.startswith(own) and item.id not in initial_ids]

    @property
    def input_items(self) -> list[TResponseInputItem]:
        """Give what the run begins with, unless it has gone on from there."""
        return [] if self._new else [cast("TResponseInputItem", item) for item in self._initial]

    @property
    def new_items(self) -> list[dict[str, Any]]:
        """Give what the run has said and done so far."""
        return [item.data for item in self._new]

    @property
    def size(self) -> int:
        """Count the characters of all that was said, roughly."""
        return sum(len(str(item.data)) for item in (*self._earlier, *self._new)) + len(str(self._initial))

    async def get_items(self, limit: int | None = None) -> list[TResponseInputItem]:
        """Give what was said before, oldest first; of what is not the run's own, the newest `limit` items."""
        earlier = [item.data for item in self._earlier[-(limit or self._max_earlier) :]]
        return drop_unpaired_calls([*earlier, *self._initial, *self.new_items] if self._new else earlier)

    async def add_items(self, items: list[TResponseInputItem]) -> None:
        """Remember what the agents said and did; what they were asked is remembered since the beginning."""
        known_calls = {call for item in self.new_items if (call := call_key(item))}
        dicts = [dict(item) for item in items if item not in self._initial]
        new = [
            one for one in dicts if one.get("role") not in INPUT_ROLES and call_key(one) not in known_calls
        ]
        if new:
            await self.add(new)
            await self._on_stored()

    async def add(self, items: Sequence[dict[str, Any]]) -> None:
        """Remember what was said and done, at the end of what there is."""
        if not items:
            return
        await self.wait_until_open()
        numbered = self._numbered(items, len(self._initial) + len(self._new) + 1)
        await retry_unavailable(lambda: self._client.append(self._turn, numbered), self._timeout)
        self._new += numbered

    async def rollback(self) -> None:
        """Take back all of the run, also what it was asked."""
        await self.wait_until_open()
        await retry_unavailable(lambda: self._client.delete_turn(self._turn), self._timeout)

    def _numbered(self, items: Sequence[dict[str, Any]], first: int) -> list[StoredItem]:
        run_id = self._turn.run_id
        return [StoredItem(id=f"{run_id}-{number:04}", data=data) for number, data in enumerate(items, first)]

    async def pop_item(self) -> TResponseInputItem | None:
        """Forget nothing: what was said was said, and a run is taken back as a whole."""
        return None

    async def clear_session(self) -> None:
        """Forget nothing; a conversation is cleared by the one whose it is."""


def initial_items(run: Run) -> list[dict[str, Any]]:
    """Give the items that a run begins with."""
    return [*run.prelude, {"type": "message", "role": "user", "content": run.message}]


def call_key(item: dict[str, Any]) -> tuple[str, str] | None:
    """Name the tool call that an item is, or is the output of."""
    call_id = item.get("call_id")
    return (str(item.get("type")), str(call_id)) if call_id else None


def drop_unpaired_calls(items: Sequence[dict[str, Any]]) -> list[TResponseInputItem]:
    """Leave out calls without output and outputs without call: models refuse such a history for ever."""
    calls = {item.get("call_id") for item in items if item.get("type") == "function_call"}
    outputs = {item.get("call_id") for item in items if item.get("type") == "function_call_output"}
    paired = {None, *(calls & outputs)}
    return [cast("TResponseInputItem", item) for item in items if item.get("call_id") in paired]
