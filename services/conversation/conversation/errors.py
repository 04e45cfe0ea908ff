"""What can go wrong in this service."""

from servicekit.errors import Conflict, NotFound, PayloadTooLarge, Unprocessable

LIMIT_DETAILS = {
    "conversations_per_person": "You have {maximum} conversations, as many as one person may have."
    " Delete some of them to begin another.",
    "conversations_per_tenant": "Your workspace has {maximum} conversations, as many as it may have."
    " Delete some of them to begin another, or ask your operator for more.",
    "items_per_conversation": "This conversation has {maximum} items, as many as it may have."
    " Begin a new conversation.",
    "bytes_per_conversation": "This conversation has {maximum} bytes, as many as it may have."
    " Begin a new conversation.",
    "bytes_per_tenant": "Your workspace keeps {maximum} bytes of conversations, as many as it may."
    " Delete some conversations, or ask your operator for more.",
}


class ConversationNotFound(NotFound):
    """There is no such conversation, or it is somebody else's."""

    default_detail = "You have no such conversation."


class ItemConflict(Conflict):
    """An item's id is there already, with other content."""

    default_detail = "An item with this id is there already, and says something else."


class ConversationLimitReached(Conflict):
    """So much is kept already; 409 and not 429, since waiting does not help and deleting does."""

    def __init__(self, limit: str, maximum: int) -> None:
        super().__init__(LIMIT_DETAILS[limit].format(maximum=maximum), limit=limit, most=maximum)


class TurnSuperseded(Conflict):
    """Somebody else works on the run by now, in a newer attempt."""

    default_detail = "A newer attempt of this run writes its items by now."


class ItemTooLarge(PayloadTooLarge):
    """An item is larger than one may be."""


class InvalidItemId(Unprocessable):
    """An item's id does not begin with that of the run."""

    default_detail = "The id of an item must begin with the id of its run and a hyphen."
