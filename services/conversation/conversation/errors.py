"""What can go wrong in this service."""

from servicekit.errors import Conflict, NotFound, PayloadTooLarge, Unprocessable


class ConversationUnknown(NotFound):
    """There is no such conversation, or it is somebody else's."""

    default_detail = "You have no such conversation."


class ItemConflict(Conflict):
    """An item's id is there already, with other content."""

    default_detail = "An item with this id is there already, and says something else."


class TurnSuperseded(Conflict):
    """Somebody else works on the run by now, in a newer attempt."""

    default_detail = "A newer attempt of this run writes its items by now."


class ItemTooLarge(PayloadTooLarge):
    """An item is larger than one may be."""


class ItemOfAnotherRun(Unprocessable):
    """An item's id does not begin with that of the run."""

    default_detail = "The id of an item must begin with the id of its run and a hyphen."
