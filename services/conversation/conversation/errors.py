"""Errors of conversation."""

from servicekit.errors import Conflict, NotFound, PayloadTooLarge, Unprocessable

LIMIT_DETAILS = {
    "conversations_per_person": "You have reached the limit of {maximum} conversations."
    " Delete some of them to start another.",
    "conversations_per_tenant": "Your team has reached the limit of {maximum} conversations."
    " Delete some of them to start another, or ask your operator for a higher limit.",
    "items_per_conversation": "This conversation has reached the limit of {maximum} items."
    " Start a new conversation.",
    "bytes_per_conversation": "This conversation has reached the limit of {maximum} bytes."
    " Start a new conversation.",
    "bytes_per_tenant": "Your team has reached the limit of {maximum} bytes of conversations."
    " Delete some of them, or ask your operator for a higher limit.",
}


class ConversationNotFound(NotFound):
    """The conversation does not exist, or is not the caller's."""

    default_detail = "Conversation not found."


class ItemNotFound(NotFound):
    """The conversation has no such item."""

    default_detail = "Item not found."


class ItemConflict(Conflict):
    """An item with this id exists, with other content."""

    default_detail = "An item with this id already exists with different content. Use a new id."


class ConversationLimitReached(Conflict):
    """A storage limit is reached; 409 and not 429, since waiting does not help and deleting does."""

    def __init__(self, limit: str, maximum: int) -> None:
        super().__init__(LIMIT_DETAILS[limit].format(maximum=maximum), limit=limit, most=maximum)


class TurnSuperseded(Conflict):
    """Another worker executes the run, in a newer attempt."""

    default_detail = "A newer attempt of this run has started. Abandon this one."


class SummaryNotFound(NotFound):
    """The conversation has no such summary."""

    default_detail = "Summary not found."


class HistoryChanged(Conflict):
    """The items that a summary stands for are not those that its writer has read."""

    default_detail = "The history has changed since it was read. Read it again."


class ItemTooLarge(PayloadTooLarge):
    """An item exceeds the maximum size."""


class InvalidItemId(Unprocessable):
    """The id of an item does not start with the id of the run."""

    default_detail = "The id of an item must start with the id of its run and a hyphen."
