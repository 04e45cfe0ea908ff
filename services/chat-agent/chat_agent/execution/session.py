"""A conversation as the Agents SDK wants to remember it: what a run has stored here is how far it is."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, cast

from agents import TResponseInputItem
from agents.memory import SessionABC
from agents.memory.session_settings import SessionSettings

from chat_agent.clients.conversation import Conversations, Item, Turn
from chat_agent.clients.retry import patiently
from chat_agent.models import Run
from chat_agent.settings import Settings

# About as long as a model takes to say its first word.
AHEAD_SECONDS = 0.02
# As many items as the conversation service gives at once: none of a run's own may be missing to who goes on.
ALL = 1000
# Who says what a run begins with; all else is said and done by the agents.
ASKING = frozenset({"user", "system", "developer"})


class ConversationSession(SessionABC):
    """The SDK's Session over the conversation service, for one run.

    Items get ids made of the run's id and their number in the run, so that storing one again changes nothing,
    and whoever takes the run over finds what it has done. Raises Superseded once somebody else has.
    """

    session_settings: SessionSettings | None = None

    def __init__(
        self, conversations: Conversations, run: Run, settings: Settings, kept: Callable[[], Awaitable[None]]
    ) -> None:
        self.session_id = str(run.conversation_id)
        self._patience = settings.conversation_patience_seconds
        self._conversations = conversations
        self._turn = Turn(run.conversation_id, run.id, run.attempt)
        self._most_earlier = settings.history_items
        self._kept = kept
        self._earlier: list[Item] = []
        self._asked = opening(run)
        self._made: list[Item] = []
        self._ahead: float | None = None
        self._opening: asyncio.Task[None] | None = None

    def go_ahead(self, patience: float) -> None:
        """Let the agents begin at once, in a conversation that is new: there is nothing to learn in it.

        What the run begins with is kept a moment later, when the model has been asked.
        """
        self._ahead = patience
        asyncio.get_running_loop().call_later(AHEAD_SECONDS, self._open_behind)

    def _open_behind(self) -> None:
        if self._ahead is not None:
            self._opening = asyncio.create_task(self.open(self._ahead))
            # Whoever adds the first item hears of a failure.
            self._opening.add_done_callback(lambda task: task.cancelled() or task.exception())
            self._ahead = None

    async def opened(self) -> None:
        """Wait until what the run begins with is kept; raises ConversationUnavailable."""
        self._open_behind()
        if self._opening is not None:
            await self._opening

    async def open(self, patience: float) -> None:
        """Keep what the run begins with, if it is not there yet, and learn what was said and done so far."""
        asked = self._numbered(self._asked, 1)
        last = self._most_earlier if self._turn.attempt == 1 else ALL
        items = await patiently(lambda: self._conversations.open_turn(self._turn, asked, last), patience)
        own, known = f"{self._turn.run_id}-", {item.id for item in asked}
        self._earlier = [item for item in items if not item.id.startswith(own)][-self._most_earlier :]
        self._made = [item for item in items if item.id.startswith(own) and item.id not in known]

    @property
    def asked(self) -> list[TResponseInputItem]:
        """Give what the run begins with, unless it has gone on from there."""
        return [] if self._made else [cast("TResponseInputItem", item) for item in self._asked]

    @property
    def made(self) -> list[dict[str, Any]]:
        """Give what the run has said and done so far."""
        return [item.data for item in self._made]

    @property
    def size(self) -> int:
        """Count the characters of all that was said, roughly."""
        return sum(len(str(item.data)) for item in (*self._earlier, *self._made)) + len(str(self._asked))

    async def get_items(self, limit: int | None = None) -> list[TResponseInputItem]:
        """Give what was said before, oldest first; of what is not the run's own, the newest `limit` items."""
        earlier = [item.data for item in self._earlier[-(limit or self._most_earlier) :]]
        return sound([*earlier, *self._asked, *self.made] if self._made else earlier)

    async def add_items(self, items: list[TResponseInputItem]) -> None:
        """Remember what the agents said and did; what they were asked is remembered since the beginning."""
        known = {call for item in self.made if (call := call_of(item))}
        made = [dict(item) for item in items if item not in self._asked]
        new = [one for one in made if one.get("role") not in ASKING and call_of(one) not in known]
        if new:
            await self.add(new)
            await self._kept()

    async def add(self, made: Sequence[dict[str, Any]]) -> None:
        """Remember what was said and done, at the end of what there is."""
        if not made:
            return
        await self.opened()
        numbered = self._numbered(made, len(self._asked) + len(self._made) + 1)
        await patiently(lambda: self._conversations.append(self._turn, numbered), self._patience)
        self._made += numbered

    async def forget(self) -> None:
        """Take back all of the run, also what it was asked."""
        await self.opened()
        await patiently(lambda: self._conversations.forget_turn(self._turn), self._patience)

    def _numbered(self, items: Sequence[dict[str, Any]], first: int) -> list[Item]:
        run_id = self._turn.run_id
        return [Item(id=f"{run_id}-{number:04}", data=data) for number, data in enumerate(items, first)]

    async def pop_item(self) -> TResponseInputItem | None:
        """Forget nothing: what was said was said, and a run is taken back as a whole."""
        return None

    async def clear_session(self) -> None:
        """Forget nothing; a conversation is cleared by the one whose it is."""


def opening(run: Run) -> list[dict[str, Any]]:
    """Give the items that a run begins with."""
    return [*run.prelude, {"type": "message", "role": "user", "content": run.message}]


def call_of(item: dict[str, Any]) -> tuple[str, str] | None:
    """Name the tool call that an item is, or is the output of."""
    call_id = item.get("call_id")
    return (str(item.get("type")), str(call_id)) if call_id else None


def sound(items: Sequence[dict[str, Any]]) -> list[TResponseInputItem]:
    """Leave out calls without output and outputs without call: models refuse such a history for ever."""
    calls = {item.get("call_id") for item in items if item.get("type") == "function_call"}
    outputs = {item.get("call_id") for item in items if item.get("type") == "function_call_output"}
    whole = {None, *(calls & outputs)}
    return [cast("TResponseInputItem", item) for item in items if item.get("call_id") in whole]
