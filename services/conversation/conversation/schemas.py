"""What crosses the wire."""

import math
from collections.abc import Iterator
from datetime import datetime
from typing import Annotated
from uuid import UUID

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    StringConstraints,
)
from pydantic_core import PydanticCustomError
from servicekit.request_limits import KIB
from servicekit.schemas import RequestModel, max_length

# Of the routes that take items. The gateway lets through as much.
MAX_ITEMS_BODY = 1024 * KIB
MAX_MEMBERS = 1000
MAX_DEPTH = 100
SNIPPET_LENGTH = 500


def validate_storable(text: str) -> str:
    """Refuse text that Postgres cannot hold, in so many words."""
    if "\0" in text:
        raise PydanticCustomError("nul_character", "must not contain the character U+0000")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise PydanticCustomError("lone_surrogate", "must not contain half of a surrogate pair") from None
    return text


def validate_json(value: object) -> object:
    """Refuse JSON that could not be given back as it came: NUL, lone surrogates, NaN, bottomless nesting."""
    for part, depth in walk(value):
        if depth > MAX_DEPTH:
            raise PydanticCustomError(
                "too_deep", "must not be nested more than {deepest} deep", {"deepest": MAX_DEPTH}
            )
        if isinstance(part, str):
            validate_storable(part)
        elif isinstance(part, float) and not math.isfinite(part):
            raise PydanticCustomError("not_finite", "must not contain NaN or an infinite number")
    return value


def walk(value: object) -> Iterator[tuple[object, int]]:
    """Give every key and value inside a JSON value, and how deep it lies."""
    waiting: list[tuple[object, int]] = [(value, 0)]
    while waiting:
        part, depth = waiting.pop()
        yield part, depth
        if isinstance(part, dict):
            waiting += [(inner, depth + 1) for pair in part.items() for inner in pair]
        elif isinstance(part, list):
            waiting += [(inner, depth + 1) for inner in part]


def single_line(text: str) -> str:
    """Make one line of it."""
    return " ".join(text.split())


Title = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=200),
    AfterValidator(validate_storable),
    AfterValidator(single_line),
]
Query = Annotated[str, StringConstraints(min_length=1, max_length=200), AfterValidator(validate_storable)]
# Nothing that would need escaping in an address, where it may come to stand.
ItemId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.:-]{0,127}$")]
# Attempts are counted up by each process that takes a run over; an integer of Postgres holds no more.
MAX_ATTEMPT = 2**31 - 1
Attempt = Annotated[int, Field(ge=1, le=MAX_ATTEMPT, strict=True)]
Data = Annotated[
    dict[str, JsonValue],
    Field(max_length=MAX_MEMBERS),
    BeforeValidator(validate_json),
    BeforeValidator(max_length(MAX_MEMBERS)),
]


class NewConversation(RequestModel):
    """A conversation to begin; without a title it takes one from the first thing that the user says."""

    title: Title | None = None


class NewItem(RequestModel):
    """An item of the Agents SDK to keep; its id is the sender's, and makes sending it again harmless."""

    id: ItemId
    data: Data


def require_unique_ids(items: list[NewItem]) -> list[NewItem]:
    """Refuse a list that names an id twice."""
    if len({item.id for item in items}) < len(items):
        raise PydanticCustomError("id_repeated", "must not name an item id twice")
    return items


class NewItems(RequestModel):
    """Items to keep, in the order in which they were said."""

    items: Annotated[
        list[NewItem],
        Field(fail_fast=True, min_length=1, max_length=100),
        AfterValidator(require_unique_ids),
    ]


class NewTurnItems(NewItems):
    """Items that an attempt of a run adds to its turn."""

    attempt: Attempt


class NewTurn(RequestModel):
    """What a run begins with, and how many of the conversation's last items it wants to hear of."""

    attempt: Attempt
    items: Annotated[list[NewItem], Field(fail_fast=True, max_length=100), AfterValidator(require_unique_ids)]
    last: int = Field(200, ge=1, le=1000, strict=True)


class ResponseModel(BaseModel):
    """A row, as it is shown."""

    model_config = ConfigDict(from_attributes=True, validate_by_name=True, validate_by_alias=True)


class Conversation(ResponseModel):
    """A conversation, with the beginning of what was said last in it."""

    conversation_id: UUID = Field(validation_alias="id")
    title: str | None
    message_count: int
    last_message: str | None
    created_at: datetime
    updated_at: datetime


class Message(ResponseModel):
    """What the user or the assistant said; incomplete where an answer was cut off."""

    role: str
    content: str = Field(validation_alias="text")
    is_incomplete: bool
    timestamp: datetime = Field(validation_alias="created_at")


class ConversationDetail(Conversation):
    """A conversation with its newest messages, oldest of them first; all of it is in its items."""

    messages: list[Message]


class Item(ResponseModel):
    """One kept item."""

    id: str
    position: int
    data: dict[str, JsonValue]
    created_at: datetime


class Items(ResponseModel):
    """Kept items, oldest first."""

    items: list[Item]


class SearchResult(ResponseModel):
    """A message in which the words were found; `snippet` is plain text around them, not HTML."""

    conversation_id: UUID
    title: str | None
    role: str
    snippet: Annotated[str, AfterValidator(lambda text: single_line(text)[:SNIPPET_LENGTH])]
    created_at: datetime
