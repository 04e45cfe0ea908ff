"""The conversation service, as this one uses it: always for one person, never for all."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import httpx
from pydantic import BaseModel, TypeAdapter
from servicekit.http import DependencyUnavailable, ServiceClient

from chat_agent.errors import ConversationUnavailable, UnknownConversation

SCOPE = "conversations:read conversations:write"


class Item(BaseModel):
    """One item of the Agents SDK, as it is kept."""

    id: str
    data: dict[str, Any]


class Match(BaseModel):
    """A place where something was said."""

    role: str
    snippet: str
    created_at: datetime


ITEMS, MATCHES = TypeAdapter(list[Item]), TypeAdapter(list[Match])


@dataclass(frozen=True)
class Conversations:
    """What one person of a tenant has said and heard.

    Raises ConversationUnavailable when the service does not answer, UnknownConversation when it is another's.
    """

    client: ServiceClient
    tenant_id: UUID
    subject: str

    async def ensure(self, conversation_id: UUID) -> None:
        """Make the conversation unless it is there."""
        await self._call("PUT", f"/conversations/{conversation_id}", json={})

    async def items(self, conversation_id: UUID, last: int) -> list[Item]:
        """Give the last items, oldest first."""
        answer = await self._call("GET", f"/conversations/{conversation_id}/items", params={"last": last})
        return ITEMS.validate_python(answer["items"])

    async def append(self, conversation_id: UUID, items: Sequence[Item]) -> None:
        """Add items; one whose id is there already is left as it is."""
        body = {"items": [item.model_dump(mode="json") for item in items]}
        await self._call("POST", f"/conversations/{conversation_id}/items", json=body)

    async def remove(self, conversation_id: UUID, item_id: str) -> None:
        """Take one item away, if it is there."""
        await self._call("DELETE", f"/conversations/{conversation_id}/items/{item_id}")

    async def clear(self, conversation_id: UUID) -> None:
        """Take all items away."""
        await self._call("DELETE", f"/conversations/{conversation_id}/items")

    async def search(self, query: str, limit: int = 5) -> list[Match]:
        """Find what was said, best first."""
        answer = await self._call("GET", "/search", params={"query": query, "limit": limit})
        return MATCHES.validate_python(answer["items"])

    async def _call(self, method: str, path: str, **parts: Any) -> Any:
        try:
            response = await self.client.request(
                method, path, on_behalf_of=(self.tenant_id, self.subject), **parts
            )
        except DependencyUnavailable as error:
            raise ConversationUnavailable from error
        if response.status_code == httpx.codes.NOT_FOUND:
            raise UnknownConversation
        if response.is_error:
            raise ConversationUnavailable(f"The conversation service answered {response.status_code}.")
        return response.json() if response.content else None
