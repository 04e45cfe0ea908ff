"""Requests and responses."""

import math
from collections.abc import Iterator
from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    StringConstraints,
)
from pydantic_core import PydanticCustomError
from servicekit.request_limits import KIB
from servicekit.schemas import Limit, RequestModel, max_length, reject_numbers

# Of the routes that accept items; the gateway has the same limit.
MAX_ITEMS_BODY = 1024 * KIB
# A message of a million characters, however many bytes each of them has in JSON.
MAX_ITEM_BYTES = 6 * 1024 * KIB
# Of the items of a run: one of the largest, and what is around it.
MAX_TURN_BODY = 7 * 1024 * KIB
# Of a page of items, unless the first of them has more.
MAX_PAGE_BYTES = 1024 * KIB
MAX_MEMBERS = 1000
MAX_DEPTH = 100
SNIPPET_LENGTH = 500
MAX_SUMMARY = 20_000


def validate_storable(text: str) -> str:
    """Reject text that Postgres cannot store."""
    if "\0" in text:
        raise PydanticCustomError("nul_character", "must not contain the character U+0000")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise PydanticCustomError("lone_surrogate", "must not contain half of a surrogate pair") from None
    return text


def validate_json(value: object) -> object:
    """Reject JSON that cannot be returned as it was sent: NUL, lone surrogates, NaN, deep nesting."""
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
    """Iterate over every key and value inside a JSON value, with its depth."""
    waiting: list[tuple[object, int]] = [(value, 0)]
    while waiting:
        part, depth = waiting.pop()
        yield part, depth
        if isinstance(part, dict):
            waiting += [(inner, depth + 1) for pair in part.items() for inner in pair]
        elif isinstance(part, list):
            waiting += [(inner, depth + 1) for inner in part]


def single_line(text: str) -> str:
    """Return the text on one line."""
    return " ".join(text.split())


Title = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=200),
    AfterValidator(validate_storable),
    AfterValidator(single_line),
]
Query = Annotated[str, StringConstraints(min_length=1, max_length=200), AfterValidator(validate_storable)]
# Nothing that would need escaping in a URL.
ItemId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.:-]{0,127}$")]
# Each process that takes over a run increments its attempt, which is an integer of Postgres.
MAX_ATTEMPT = 2**31 - 1
Attempt = Annotated[int, Field(ge=1, le=MAX_ATTEMPT, strict=True)]
# What the column holds; a larger number would not reach the database.
Position = Annotated[int, Field(ge=0, lt=2**31, strict=True)]
Data = Annotated[
    dict[str, JsonValue],
    Field(max_length=MAX_MEMBERS),
    BeforeValidator(validate_json),
    BeforeValidator(max_length(MAX_MEMBERS)),
]


class NewConversation(RequestModel):
    """A conversation to create; without a title, it gets one from the first user message."""

    title: Title | None = None


Metadata = Annotated[
    dict[Annotated[str, StringConstraints(max_length=64)], Annotated[str, StringConstraints(max_length=512)]],
    Field(max_length=16),
    BeforeValidator(validate_json),
    BeforeValidator(max_length(16)),
]


class NewNamedConversation(NewConversation):
    """A conversation to create, with what its application notes about it."""

    notes: Metadata = Field(default_factory=dict, alias="metadata")


class ConversationNotes(RequestModel):
    """What an application notes about a conversation, in place of what it noted before."""

    notes: Metadata = Field(alias="metadata")


class ConversationTitle(RequestModel):
    """Another title for a conversation."""

    title: Title


class NewItem(RequestModel):
    """An item of the Agents SDK to store; its id is chosen by the client and makes a retry safe."""

    id: ItemId
    data: Data


def require_unique_ids(items: list[NewItem]) -> list[NewItem]:
    """Reject a list that repeats an id."""
    if len({item.id for item in items}) < len(items):
        raise PydanticCustomError("id_repeated", "must not repeat an item id")
    return items


class NewItems(RequestModel):
    """Items to append, in this order."""

    items: Annotated[
        list[NewItem],
        Field(fail_fast=True, min_length=1, max_length=100),
        AfterValidator(require_unique_ids),
    ]


class NewTurnItems(NewItems):
    """Items that an attempt of a run appends to its turn."""

    attempt: Attempt


class NewTurn(RequestModel):
    """The first items of a run, and how many of the newest items to return."""

    attempt: Attempt
    items: Annotated[list[NewItem], Field(fail_fast=True, max_length=100), AfterValidator(require_unique_ids)]
    last: int = Field(200, ge=1, le=1000, strict=True)
    expires_at: Annotated[
        AwareDatetime | None,
        BeforeValidator(reject_numbers),
        Field(description="Makes a new conversation temporary; without it, an existing one becomes lasting."),
    ] = None
    begun_at: Annotated[
        AwareDatetime | None,
        BeforeValidator(reject_numbers),
        Field(description="When an end user's run began; 404 if the end user was erased since."),
    ] = None
    compacted: bool = Field(
        False, strict=True, description="Return a summary in place of the items that it stands for."
    )
    supersedes_after: Position | None = Field(
        None, description="The items of other runs after this position are superseded by the run."
    )


SummaryText = Annotated[
    str, StringConstraints(min_length=1, max_length=MAX_SUMMARY), AfterValidator(validate_storable)
]


class SummaryChange(RequestModel):
    """Another text for a summary."""

    text: SummaryText


class NewSummary(SummaryChange):
    """A summary of items, and what its writer has read of the conversation."""

    first_position: Position
    last_position: Position
    item_count: Position = Field(description="Of the items between both positions that were read.")
    replaces: ItemId | None = Field(None, description="The summary that the text begins with.")


class ItemPage(RequestModel):
    """A page of a conversation's items, after one of them."""

    order: Literal["asc", "desc"] = "asc"
    after: ItemId | None = None
    limit: Limit = 50


class ResponseModel(BaseModel):
    """A response that is built from a row."""

    model_config = ConfigDict(from_attributes=True, validate_by_name=True, validate_by_alias=True)


class Conversation(ResponseModel):
    """A conversation, with the start of its last message."""

    conversation_id: UUID = Field(validation_alias="id")
    title: str | None
    message_count: int
    last_message: str | None
    created_at: datetime
    updated_at: datetime


class NotedConversation(Conversation):
    """A conversation with what its application notes about it."""

    notes: dict[str, str] = Field(serialization_alias="metadata")


class Message(ResponseModel):
    """A message of the user or the assistant; incomplete where an answer was cut off."""

    id: str = Field(description="Begins with the id of the run that it is of, if it is of one.")
    role: str
    content: str = Field(validation_alias="text")
    is_incomplete: bool
    timestamp: datetime = Field(validation_alias="created_at")


class ConversationDetail(Conversation):
    """A conversation with its newest messages, oldest first; the items contain all of them."""

    messages: list[Message]


class ItemRange(ResponseModel):
    """Items from one position to another."""

    first_position: int
    last_position: int


class Item(ResponseModel):
    """A stored item."""

    id: str
    position: int
    data: dict[str, JsonValue]
    created_at: datetime
    superseded_by: UUID | None = Field(None, description="The run that superseded it.")
    kind: Literal["item", "summary"] = Field(
        "item", description="`summary`: agents read it in place of the items that it stands for."
    )
    summarizes: ItemRange | None = Field(None, description="What a summary stands for.")


class Items(ResponseModel):
    """Stored items, oldest first."""

    items: list[Item]


class Deleted(BaseModel):
    """How many were deleted; there may be more of them unless it is none."""

    deleted: int


class SearchResult(ResponseModel):
    """A message that matches; `snippet` is the plain text around the words, not HTML."""

    conversation_id: UUID
    title: str | None
    role: str
    snippet: Annotated[str, AfterValidator(lambda text: single_line(text)[:SNIPPET_LENGTH])]
    created_at: datetime
