"""What can go wrong in this service."""

from servicekit.errors import Conflict, NotFound, PayloadTooLarge


class ConversationUnknown(NotFound):
    """There is no such conversation, or it is somebody else's."""

    default_detail = "You have no such conversation."


class ItemConflict(Conflict):
    """An item's id is there already, with other content."""

    default_detail = "An item with this id is there already, and says something else."


class ItemTooLarge(PayloadTooLarge):
    """An item is larger than one may be."""
