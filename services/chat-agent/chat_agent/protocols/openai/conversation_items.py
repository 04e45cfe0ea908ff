"""Items of conversations as OpenAI's clients see them, and those that they send to be stored."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal
from uuid import uuid4

from fastapi import Query
from pydantic import BaseModel, Field

from chat_agent.clients.conversation import StoredItem
from chat_agent.protocols.requests import ChatTurn, Turn

Json = dict[str, Any]
ITEM_NAME = r"^[A-Za-z0-9_.:-]{1,160}$"
PREFIXES = {
    "message": "msg",
    "reasoning": "rs",
    "function_call": "fc",
    "function_call_output": "fco",
}


class ItemListQuery(BaseModel):
    """Which page of a list of items, and in which order."""

    after: Annotated[str, Field(pattern=ITEM_NAME)] | None = None
    limit: int = Field(20, ge=1, le=100)
    order: Literal["asc", "desc"] = "desc"


ItemQuery = Annotated[ItemListQuery, Query()]


def item_of(stored: StoredItem) -> Json:
    """Return a stored item."""
    data = {**stored.data, "id": item_name(stored)}
    if data.setdefault("type", "message") == "message":
        data["content"] = content_parts(data.get("role", "user"), data.get("content"))
    data.setdefault("status", "completed")
    return data


def item_name(stored: StoredItem) -> str:
    """Return the id by which clients know a stored item."""
    prefix = PREFIXES.get(str(stored.data.get("type", "message")), "item")
    return f"{prefix}_{stored.id}"


def stored_id(name: str) -> str:
    """Return the id by which an item is stored."""
    return name.partition("_")[2] or name


def content_parts(role: str, content: object) -> list[Json]:
    """Return the content of a message as a list of parts."""
    if isinstance(content, list):
        return content
    if role == "assistant":
        return [{"type": "output_text", "text": content or "", "annotations": [], "logprobs": []}]
    return [{"type": "input_text", "text": content or ""}]


def list_of(items: Sequence[Mapping[str, Any]], *, has_more: bool) -> Json:
    """Return a page of items."""
    return {
        "object": "list",
        "data": [*items],
        "first_id": items[0]["id"] if items else None,
        "last_id": items[-1]["id"] if items else None,
        "has_more": has_more,
    }


def new_items(items: Sequence[Json]) -> list[StoredItem]:
    """Return what a client adds to a conversation, with ids."""
    return [StoredItem(id=uuid4().hex, data=item) for item in items]


def data_of(turn: Turn) -> Json:
    """Return a turn as an item of the SDK."""
    item = turn.to_item()
    return {"type": "message", **item} if isinstance(turn, ChatTurn) else item
