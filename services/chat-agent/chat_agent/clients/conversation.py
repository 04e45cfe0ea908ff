"""The client of the conversation service; every call is on behalf of one user."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from typing import Any, Literal, NamedTuple
from uuid import UUID

import orjson
from pydantic import BaseModel
from servicekit.http.client import DependencyUnavailable
from servicekit.http.service_tokens import ServiceClient

from chat_agent.errors import (
    ConversationLimitReached,
    ConversationNotFound,
    ConversationUnavailable,
    ItemNotFound,
    Superseded,
)

# The service takes 100 items and 7 MiB at once. One item has 6 MiB at most; more than one, as little as is
# read in a moment.
BATCH_ITEMS, BATCH_BYTES = 100, 512 * 1024
SUPERSEDED = "turn_superseded"
ITEM_NOT_FOUND = "item_not_found"
LIMIT_REACHED = "conversation_limit_reached"
HISTORY_CHANGED = "history_changed"
PAGE_SIZE = 100
Json = dict[str, Any]
SCOPE = "conversations:read conversations:write"


class HistoryChanged(Exception):
    """What a summary stands for is not what its writer has read any more."""


class StoredItem(BaseModel):
    """One item of the Agents SDK, as it is kept."""

    id: str
    data: dict[str, Any]
    # Where it is stored; 0 until then.
    position: int = 0
    # A summary is read in place of the items that it stands for.
    kind: Literal["item", "summary"] = "item"


class NewSummary(BaseModel):
    """A summary of items, and what its writer has read of the conversation."""

    text: str
    first_position: int
    last_position: int
    # Of those between both positions.
    item_count: int
    # The summary that was read before them.
    replaces: str | None = None


class TurnRef(NamedTuple):
    """The items of one run in a conversation, and the attempt that executes it."""

    conversation_id: UUID
    run_id: UUID
    attempt: int
    # When the run of an end user began.
    begun_at: datetime | None = None

    @property
    def url_path(self) -> str:
        """The path of the turn."""
        return f"/conversations/{self.conversation_id}/turns/{self.run_id}"


class SearchMatch(BaseModel):
    """A place where something was said."""

    conversation_id: UUID
    role: str
    snippet: str
    created_at: datetime


class ItemsResponse(BaseModel):
    """The service's answer with items."""

    items: list[StoredItem]


class SearchResponse(BaseModel):
    """The service's answer to a search."""

    items: list[SearchMatch]


class NotedConversation(BaseModel):
    """A conversation, and what its application notes about it."""

    conversation_id: UUID
    created_at: datetime
    metadata: dict[str, str]


class ItemPage(BaseModel):
    """A part of the items of a conversation."""

    items: list[StoredItem]
    next_cursor: str | None = None


class PageResponse(BaseModel):
    """A part of a list."""

    items: list[Json]
    next_cursor: str | None = None


class DeletedResponse(BaseModel):
    """The service's answer to the deletion of several."""

    deleted: int


def items_payload(items: Sequence[StoredItem]) -> dict[str, Any]:
    """Write items down for a body."""
    return {"items": [item.model_dump(mode="json", include={"id", "data"}) for item in items]}


def in_batches(items: Sequence[StoredItem]) -> list[list[StoredItem]]:
    """Split items into batches that the service accepts; at least one, which may be empty."""
    batches: list[list[StoredItem]] = [[]]
    size = 0
    for item in items:
        item_size = len(orjson.dumps(item.data))
        if len(batches[-1]) == BATCH_ITEMS or (batches[-1] and size + item_size > BATCH_BYTES):
            batches.append([])
            size = 0
        batches[-1].append(item)
        size += item_size
    return batches


def conflict_error(problem: Mapping[str, Any]) -> Exception:
    """Return the error that a conflict stands for."""
    if problem["code"] == SUPERSEDED:
        return Superseded()
    if problem["code"] == LIMIT_REACHED:
        return ConversationLimitReached(problem["detail"])
    if problem["code"] == HISTORY_CHANGED:
        return HistoryChanged()
    return ConversationUnavailable(f"The conversation service answered {problem['code']}.")


@dataclass(frozen=True)
class ConversationClient:
    """The conversations of one user of a tenant.

    Raises ConversationUnavailable when the service does not answer, ConversationNotFound for a conversation
    of somebody else, ConversationLimitReached when it is full, and Superseded for an attempt that is not the
    newest.
    """

    client: ServiceClient
    tenant_id: UUID
    subject: str

    async def create(self, conversation_id: UUID, metadata: Mapping[str, str]) -> NotedConversation:
        """Create a conversation."""
        return await self._noted("PUT", conversation_id, json={"metadata": {**metadata}})

    async def get(self, conversation_id: UUID) -> NotedConversation:
        """Return a conversation."""
        return await self._noted("GET", conversation_id)

    async def replace_metadata(self, conversation_id: UUID, metadata: Mapping[str, str]) -> NotedConversation:
        """Replace the metadata of a conversation."""
        return await self._noted("PATCH", conversation_id, json={"metadata": {**metadata}})

    async def _noted(self, method: str, conversation_id: UUID, **parts: Any) -> NotedConversation:
        answer = await self._call(method, f"/conversations/{conversation_id}", **parts)
        return NotedConversation.model_validate_json(answer)

    async def list_items(self, conversation_id: UUID, order: str, limit: int, after: str | None) -> ItemPage:
        """List items in either order, after one of them; raises ItemNotFound."""
        params = {"order": order, "limit": limit} | ({"after": after} if after else {})
        answer = await self._call("GET", f"/conversations/{conversation_id}/item-list", params=params)
        return ItemPage.model_validate_json(answer)

    async def add_items(self, conversation_id: UUID, items: Sequence[StoredItem]) -> None:
        """Add items that are not of a run."""
        for batch in in_batches(items):
            await self._call("POST", f"/conversations/{conversation_id}/items", json=items_payload(batch))

    async def item(self, conversation_id: UUID, item_id: str) -> StoredItem:
        """Return an item; raises ItemNotFound."""
        answer = await self._call("GET", f"/conversations/{conversation_id}/items/{item_id}")
        return StoredItem.model_validate_json(answer)

    async def delete_item(self, conversation_id: UUID, item_id: str) -> None:
        """Delete an item; raises ItemNotFound."""
        await self._call("DELETE", f"/conversations/{conversation_id}/items/{item_id}")

    async def create_if_missing(self, conversation_id: UUID) -> None:
        """Build the conversation unless it is there."""
        await self._call("PUT", f"/conversations/{conversation_id}", json={})

    async def open_turn(  # noqa: PLR0913  # what a turn begins with
        self,
        turn: TurnRef,
        items: Sequence[StoredItem],
        last: int,
        expires_at: datetime | None = None,
        supersedes_after: int | None = None,
        *,
        compacted: bool = False,
    ) -> list[StoredItem]:
        """Add a run's first items, to a new conversation unless it is there; give the last, oldest first.

        The ids of the items begin with `<run_id>-`; one whose id is there already is left as it is. No older
        attempt can change anything in the turn from now on. With `expires_at` a new one is temporary. Items
        of other runs after the position `supersedes_after` are superseded. With `compacted` a summary comes
        first, in place of the items that it stands for.
        """
        options: dict[str, int | str] = {"compacted": True} if compacted else {}
        if expires_at is not None:
            options["expires_at"] = expires_at.isoformat()
        if turn.begun_at is not None:
            options["begun_at"] = turn.begun_at.isoformat()
        if supersedes_after is not None:
            options["supersedes_after"] = supersedes_after
        *before, end = in_batches(items)
        for batch in before:
            await self._put_turn(turn, batch, last=1, **options)
        return await self._put_turn(turn, end, last=last, **options)

    async def _put_turn(
        self, turn: TurnRef, batch: Sequence[StoredItem], **options: int | str
    ) -> list[StoredItem]:
        body = {"attempt": turn.attempt, **items_payload(batch), **options}
        answer = await self._call("PUT", turn.url_path, json=body)
        return ItemsResponse.model_validate_json(answer).items

    async def append(self, turn: TurnRef, items: Sequence[StoredItem]) -> None:
        """Add items to a turn; one whose id is there already is left as it is."""
        for batch in in_batches(items):
            body = {"attempt": turn.attempt, **items_payload(batch)}
            await self._call("POST", f"{turn.url_path}/items", json=body)

    async def delete_turn(self, turn: TurnRef) -> None:
        """Delete all items whose ids begin with `<run_id>-`, if there are any."""
        await self._call("DELETE", turn.url_path, params={"attempt": turn.attempt})

    async def delete(self, conversation_id: UUID) -> None:
        """Delete a conversation."""
        await self._call("DELETE", f"/conversations/{conversation_id}")

    async def items(
        self,
        conversation_id: UUID,
        last: int,
        until_run: UUID | None = None,
        superseded_by: UUID | None = None,
    ) -> list[StoredItem]:
        """Return the last items, or those until the end of a run, oldest first.

        Those that a run has superseded are left out unless it is `superseded_by`.
        """
        runs = {"until_run": until_run, "superseded_by": superseded_by}
        params = {"last": last, **{name: str(run_id) for name, run_id in runs.items() if run_id}}
        answer = await self._call("GET", f"/conversations/{conversation_id}/items", params=params)
        return ItemsResponse.model_validate_json(answer).items

    async def history(self, conversation_id: UUID, last: int) -> list[StoredItem]:
        """Return what agents read: the summary, and the last items after it, oldest first."""
        answer = await self._call("GET", f"/conversations/{conversation_id}/history", params={"last": last})
        return ItemsResponse.model_validate_json(answer).items

    async def store_summary(self, conversation_id: UUID, summary_id: str, summary: NewSummary) -> None:
        """Store a summary; one that exists is not changed. Raises HistoryChanged."""
        path = f"/conversations/{conversation_id}/summaries/{summary_id}"
        await self._call("PUT", path, json=summary.model_dump(exclude_none=True))

    async def clear(self, conversation_id: UUID) -> None:
        """Delete all items."""
        await self._call("DELETE", f"/conversations/{conversation_id}/items")

    async def delete_all(self, erased_before: datetime) -> None:
        """Delete all conversations of an end user; runs that began until then create none any more."""
        params = {"erased_before": erased_before.isoformat()}
        deleted = 1
        while deleted:
            answer = await self._call("DELETE", "/conversations", params=params)
            deleted = DeletedResponse.model_validate_json(answer).deleted

    async def export(self) -> AsyncIterator[Json]:
        """Yield the user's conversations, each followed by its items."""
        async for conversation in self._pages("/conversations"):
            yield {"type": "conversation", **conversation}
            conversation_id = conversation["conversation_id"]
            # It may be deleted, or expire, meanwhile.
            with suppress(ConversationNotFound):
                async for item in self._pages(f"/conversations/{conversation_id}/item-page"):
                    yield {"type": "item", "conversation_id": conversation_id, **item}

    async def _pages(self, path: str) -> AsyncIterator[Json]:
        params: dict[str, str | int] = {"limit": PAGE_SIZE}
        while True:
            page = PageResponse.model_validate_json(await self._call("GET", path, params=params))
            for item in page.items:
                yield item
            if page.next_cursor is None:
                return
            params["cursor"] = page.next_cursor

    async def search(self, query: str, limit: int = 5) -> list[SearchMatch]:
        """Search items, best match first."""
        answer = await self._call("GET", "/search", params={"query": query, "limit": limit})
        return SearchResponse.model_validate_json(answer).items

    async def _call(self, method: str, path: str, **parts: Any) -> bytes:
        try:
            answer = await self.client.request(
                method, path, on_behalf_of=(self.tenant_id, self.subject), **parts
            )
        except DependencyUnavailable as error:
            raise ConversationUnavailable from error
        if answer.status == HTTPStatus.NOT_FOUND:
            is_item = orjson.loads(answer.body or b"{}").get("code") == ITEM_NOT_FOUND
            raise ItemNotFound if is_item else ConversationNotFound
        if answer.status == HTTPStatus.CONFLICT:
            raise conflict_error(orjson.loads(answer.body))
        if answer.status >= HTTPStatus.BAD_REQUEST:
            raise ConversationUnavailable(f"The conversation service answered {answer.status}.")
        return answer.body
