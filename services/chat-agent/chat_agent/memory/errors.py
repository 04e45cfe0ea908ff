"""The errors of memories."""

from servicekit.errors import Conflict, NotFound


class MemoryNotFound(NotFound):
    """The caller has no such memory."""

    default_detail = "There is no such memory."


class MemorySuperseded(Conflict):
    """Another memory has superseded it."""

    default_detail = "Another memory has superseded this one. Correct that one."


class TooManyMemories(Conflict):
    """The person has as many memories as they may have."""

    default_detail = "There are as many memories as there may be. Delete some first."
