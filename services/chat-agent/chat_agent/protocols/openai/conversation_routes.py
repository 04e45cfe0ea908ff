"""The routes of conversations that OpenAI's clients speak to."""

from collections.abc import Sequence
from typing import Annotated, Any
from uuid import UUID, uuid4

from fastapi import APIRouter, Path
from fastapi.responses import JSONResponse
from pydantic import Field, StringConstraints
from servicekit.auth.dependencies import require
from servicekit.auth.tokens import Principal

from chat_agent.api.dependencies import ManagerDep, Reader, Writer
from chat_agent.api.run_request import recorded_refusals
from chat_agent.clients.conversation import ConversationClient, NotedConversation, StoredItem
from chat_agent.errors import ConversationNotFound
from chat_agent.execution.manager import RunManager
from chat_agent.protocols.openai import errors
from chat_agent.protocols.openai.conversation_items import (
    ITEM_NAME,
    ItemQuery,
    Json,
    data_of,
    item_of,
    list_of,
    new_items,
    stored_id,
)
from chat_agent.protocols.openai.requests import InputItem, turns_of
from chat_agent.protocols.openai.response_object import conversation_name
from chat_agent.protocols.requests import LenientModel, Messages, Text, parse_conversation_id
from chat_agent.schemas import MAX_CHAT_BODY

MAX_NEW_ITEMS = 20
Metadata = Annotated[
    dict[Annotated[str, StringConstraints(max_length=64)], Annotated[Text, Field(max_length=512)]],
    Field(max_length=16),
]
NewItems = Annotated[Messages[InputItem], Field(max_length=MAX_NEW_ITEMS)]
ConversationId = Annotated[str, Path(alias="conversation_id", max_length=64)]
ItemName = Annotated[str, Path(pattern=ITEM_NAME)]
Deleter = Annotated[Principal, require("conversations:delete")]


def object_doc(description: str, *required: str) -> dict[int | str, dict[str, Any]]:
    """Describe an answer that is an object of OpenAI's API."""
    schema = {"type": "object", "required": [*required]}
    return {200: {"description": description, "content": {"application/json": {"schema": schema}}}}


CONVERSATION = object_doc("A conversation.", "id", "object")
ITEMS = object_doc("A list of items.", "object", "data", "has_more")
ITEM = object_doc("An item.", "id", "type")

router = APIRouter(
    prefix="/v1/conversations",
    tags=["openai"],
    responses=errors.ERROR_RESPONSES,
    max_body_size=MAX_CHAT_BODY,
)


class NewConversation(LenientModel):
    """A conversation to create, with its first items."""

    items: NewItems | None = None
    metadata: Metadata | None = None


class ConversationChange(LenientModel):
    """What replaces the metadata of a conversation."""

    metadata: Metadata | None = None


class ItemsToAdd(LenientModel):
    """Items to add to a conversation."""

    items: Annotated[NewItems, Field(min_length=1)]


def conversation_id_of(name: str) -> UUID:
    """Return the id of a conversation; raises ConversationNotFound."""
    if not name.startswith("conv_"):
        raise ConversationNotFound
    return parse_conversation_id(name)


@router.post("", response_class=JSONResponse, responses=CONVERSATION)
async def create_openai_conversation(
    body: NewConversation, caller: Writer, manager: ManagerDep
) -> JSONResponse:
    """Create a conversation, with its first items if there are any."""
    items = await checked_items(manager, caller, body.items or [])
    client, conversation_id = manager.conversation_client(caller), uuid4()
    created = await client.create(conversation_id, body.metadata or {})
    if items:
        await client.add_items(conversation_id, items)
    return JSONResponse(conversation_object(created))


@router.get("/{conversation_id}", response_class=JSONResponse, responses=CONVERSATION)
async def read_conversation(name: ConversationId, caller: Reader, manager: ManagerDep) -> JSONResponse:
    """Return a conversation."""
    conversation_id = conversation_id_of(name)
    return JSONResponse(conversation_object(await manager.conversation_client(caller).get(conversation_id)))


@router.post("/{conversation_id}", response_class=JSONResponse, responses=CONVERSATION)
async def update_conversation(
    name: ConversationId, body: ConversationChange, caller: Writer, manager: ManagerDep
) -> JSONResponse:
    """Replace the metadata of a conversation."""
    conversation_id = conversation_id_of(name)
    client = manager.conversation_client(caller)
    return JSONResponse(
        conversation_object(await client.replace_metadata(conversation_id, body.metadata or {}))
    )


@router.delete("/{conversation_id}", response_class=JSONResponse, responses=CONVERSATION)
async def delete_openai_conversation(
    name: ConversationId, caller: Deleter, manager: ManagerDep
) -> JSONResponse:
    """Delete a conversation with its items."""
    conversation_id = conversation_id_of(name)
    await manager.conversation_client(caller).delete(conversation_id)
    return JSONResponse({"id": name, "object": "conversation.deleted", "deleted": True})


@router.get("/{conversation_id}/items", response_class=JSONResponse, responses=ITEMS)
async def list_openai_items(
    name: ConversationId, query: ItemQuery, caller: Reader, manager: ManagerDep
) -> JSONResponse:
    """List the items of a conversation, the newest first, or with `order=asc` the oldest."""
    conversation_id = conversation_id_of(name)
    page = await manager.conversation_client(caller).list_items(
        conversation_id, query.order, query.limit, stored_id(query.after) if query.after else None
    )
    items = [item_of(one) for one in page.items]
    return JSONResponse(list_of(items, has_more=page.next_cursor is not None))


@router.post("/{conversation_id}/items", response_class=JSONResponse, responses=ITEMS)
async def add_items(
    name: ConversationId, body: ItemsToAdd, caller: Writer, manager: ManagerDep
) -> JSONResponse:
    """Add items to a conversation."""
    conversation_id = conversation_id_of(name)
    items = await checked_items(manager, caller, body.items)
    await manager.conversation_client(caller).add_items(conversation_id, items)
    return JSONResponse(list_of([item_of(one) for one in items], has_more=False))


@router.get("/{conversation_id}/items/{item_id}", response_class=JSONResponse, responses=ITEM)
async def read_item(
    name: ConversationId, item_id: ItemName, caller: Reader, manager: ManagerDep
) -> JSONResponse:
    """Return an item of a conversation."""
    conversation_id = conversation_id_of(name)
    client = manager.conversation_client(caller)
    return JSONResponse(item_of(await client.item(conversation_id, stored_id(item_id))))


@router.delete("/{conversation_id}/items/{item_id}", response_class=JSONResponse, responses=CONVERSATION)
async def delete_item(
    name: ConversationId, item_id: ItemName, caller: Deleter, manager: ManagerDep
) -> JSONResponse:
    """Delete an item, and return the conversation."""
    conversation_id = conversation_id_of(name)
    client: ConversationClient = manager.conversation_client(caller)
    await client.delete_item(conversation_id, stored_id(item_id))
    return JSONResponse(conversation_object(await client.get(conversation_id)))


async def checked_items(
    manager: RunManager, caller: Principal, items: Sequence[InputItem]
) -> list[StoredItem]:
    """Return what a client adds, with the masks of the service; raises GuardrailTriggered, recorded."""
    data = [data_of(turn) for turn in turns_of(items, "items")]
    async with recorded_refusals(manager, caller):
        return new_items(await manager.guard.history(data))


def conversation_object(conversation: NotedConversation) -> Json:
    """Return a conversation as OpenAI's clients see it."""
    return {
        "id": conversation_name(conversation.conversation_id),
        "object": "conversation",
        "created_at": int(conversation.created_at.timestamp()),
        "metadata": conversation.metadata,
    }
