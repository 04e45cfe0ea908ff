"""A conversation as the Agents SDK wants to remember it."""

from uuid import UUID

from agents import TResponseInputItem
from agents.memory import SessionABC
from agents.memory.session_settings import SessionSettings

from chat_agent.conversations import Conversations, Item


class ConversationSession(SessionABC):
    """The SDK's Session over the conversation service.

    Items get ids made of the run's id and their number in the run, so that storing one again changes nothing.
    """

    session_settings: SessionSettings | None = None

    def __init__(self, conversations: Conversations, conversation_id: UUID, run_id: UUID, last: int) -> None:
        self.session_id = str(conversation_id)
        self._conversations = conversations
        self._conversation_id = conversation_id
        self._run_id = run_id
        self._last = last
        self._added = 0

    async def get_items(self, limit: int | None = None) -> list[TResponseInputItem]:
        """Give what was said, oldest first; the newest `limit` items, or as many as the settings allow."""
        items = await self._conversations.items(self._conversation_id, last=limit or self._last)
        return [item.data for item in items]  # type: ignore[misc]  # stored as the SDK gave them

    async def add_items(self, items: list[TResponseInputItem]) -> None:
        """Remember what was said."""
        numbered = [
            Item(id=f"{self._run_id}-{number:04}", data=dict(item))
            for number, item in enumerate(items, start=self._added + 1)
        ]
        if numbered:
            await self._conversations.append(self._conversation_id, numbered)
        self._added += len(numbered)

    async def pop_item(self) -> TResponseInputItem | None:
        """Forget the last item, and give it."""
        newest = await self._conversations.items(self._conversation_id, last=1)
        if not newest:
            return None
        await self._conversations.remove(self._conversation_id, newest[0].id)
        return newest[0].data  # type: ignore[return-value]  # stored as the SDK gave it

    async def clear_session(self) -> None:
        """Forget everything."""
        await self._conversations.clear(self._conversation_id)
