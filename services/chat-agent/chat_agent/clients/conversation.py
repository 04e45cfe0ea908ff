"""The conversation service, as this one uses it: always for one person, never for all."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from typing import Any, NamedTuple
from uuid import UUID

import orjson
from pydantic import BaseModel
from servicekit.http.client import DependencyUnavailable, ServiceClient

from chat_agent.errors import (
    ConversationLimitReached,
    ConversationUnavailable,
    Superseded,
    UnknownConversation,
)

# The service takes 100 items and 1 MiB at once; half of that, since what is sent may be written longer.
BATCH_ITEMS, BATCH_BYTES = 100, 512 * 1024
SUPERSEDED = "turn_superseded"
LIMIT_REACHED = "conversation_limit_reached"
SCOPE = "conversations:read conversations:write"


class Item(BaseModel):
    """One item of the Agents SDK, as it is kept."""

    id: str
    data: dict[str, Any]


class Turn(NamedTuple):
    """What one run says and hears in a conversation, and the attempt that works on it."""

    conversation_id: UUID
    run_id: UUID
    attempt: int

    @property
    def path(self) -> str:
        """Where it is."""
        return f"/conversations/{self.conversation_id}/turns/{self.run_id}"


class Match(BaseModel):
    """A place where something was said."""

    conversation_id: UUID
    role: str
    snippet: str
    created_at: datetime


class Items(BaseModel):
    """The service's answer with items."""

    items: list[Item]


class Matches(BaseModel):
    """The service's answer to a search."""

    items: list[Match]


def written(items: Sequence[Item]) -> dict[str, Any]:
    """Write items down for a body."""
    return {"items": [item.model_dump(mode="json") for item in items]}


def batches(items: Sequence[Item]) -> list[list[Item]]:
    """Divide items into as many at once as the service takes; one batch at least, which may be empty."""
    found: list[list[Item]] = [[]]
    size = 0
    for item in items:
        its_size = len(orjson.dumps(item.data))
        if len(found[-1]) == BATCH_ITEMS or (found[-1] and size + its_size > BATCH_BYTES):
            found.append([])
            size = 0
        found[-1].append(item)
        size += its_size
    return found


def refusal(problem: Mapping[str, Any]) -> Exception:
    """Return the error that a conflict stands for."""
    if problem["code"] == SUPERSEDED:
        return Superseded()
    if problem["code"] == LIMIT_REACHED:
        return ConversationLimitReached(problem["detail"])
    return ConversationUnavailable(f"The conversation service answered {problem['code']}.")


@dataclass(frozen=True)
class Conversations:
    """What one person of a tenant has said and heard.

    Raises ConversationUnavailable when the service does not answer, UnknownConversation when it is another's,
    ConversationLimitReached when no more may be kept, and Superseded to a turn's attempt that is not the
    newest.
    """

    client: ServiceClient
    tenant_id: UUID
    subject: str

    async def ensure(self, conversation_id: UUID) -> None:
        """Make the conversation unless it is there."""
        await self._call("PUT", f"/conversations/{conversation_id}", json={})

    async def open_turn(self, turn: Turn, items: Sequence[Item], last: int) -> list[Item]:
        """Add a run's first items, to a new conversation unless it is there; give the last, oldest first.

        The ids of the items begin with `<run_id>-`; one whose id is there already is left as it is. No older
        attempt can change anything in the turn from now on.
        """
        *before, end = batches(items)
        for batch in before:
            await self._open(turn, batch, last=1)
        return await self._open(turn, end, last)

    async def _open(self, turn: Turn, batch: Sequence[Item], last: int) -> list[Item]:
        body = {"attempt": turn.attempt, **written(batch), "last": last}
        answer = await self._call("PUT", turn.path, json=body)
        return Items.model_validate_json(answer).items

    async def append(self, turn: Turn, items: Sequence[Item]) -> None:
        """Add items to a turn; one whose id is there already is left as it is."""
        for batch in batches(items):
            body = {"attempt": turn.attempt, **written(batch)}
            await self._call("POST", f"{turn.path}/items", json=body)

    async def forget_turn(self, turn: Turn) -> None:
        """Take away all items whose ids begin with `<run_id>-`, if there are any."""
        await self._call("DELETE", turn.path, params={"attempt": turn.attempt})

    async def items(self, conversation_id: UUID, last: int) -> list[Item]:
        """Give the last items, oldest first."""
        answer = await self._call("GET", f"/conversations/{conversation_id}/items", params={"last": last})
        return Items.model_validate_json(answer).items

    async def clear(self, conversation_id: UUID) -> None:
        """Take all items away."""
        await self._call("DELETE", f"/conversations/{conversation_id}/items")

    async def search(self, query: str, limit: int = 5) -> list[Match]:
        """Find what was said, best first."""
        answer = await self._call("GET", "/search", params={"query": query, "limit": limit})
        return Matches.model_validate_json(answer).items

    async def _call(self, method: str, path: str, **parts: Any) -> bytes:
        try:
            answer = await self.client.request(
                method, path, on_behalf_of=(self.tenant_id, self.subject), **parts
            )
        except DependencyUnavailable as error:
            raise ConversationUnavailable from error
        if answer.status == HTTPStatus.NOT_FOUND:
            raise UnknownConversation
        if answer.status == HTTPStatus.CONFLICT:
            raise refusal(orjson.loads(answer.body))
        if answer.status >= HTTPStatus.BAD_REQUEST:
            raise ConversationUnavailable(f"The conversation service answered {answer.status}.")
        return answer.body
