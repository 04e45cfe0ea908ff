"""Text that was sent and then withdrawn, in protocols that cannot take anything back."""

from collections.abc import Collection
from dataclasses import dataclass
from http import HTTPStatus

from servicekit.errors import ServiceError


class AnswerWithdrawn(ServiceError):
    """What is said anew differs from what was sent already."""

    status = HTTPStatus.SERVICE_UNAVAILABLE
    default_detail = (
        "The process that answered was lost, and what is said anew differs from what was sent. Ask again."
    )


@dataclass
class SentMessage:
    """What was sent of one message to a client, and how much of it was repeated since."""

    item_id: str
    sent: str = ""
    position: int = 0
    is_complete: bool = False


class RetransmissionFilter:
    """Drops text that a client has already; raises AnswerWithdrawn when it differs."""

    def __init__(self) -> None:
        self._messages: dict[str, SentMessage] = {}
        self._pending: list[SentMessage] = []

    @property
    def has_pending(self) -> bool:
        """Return whether something must be said again."""
        return any(message.sent for message in self._pending)

    def start(self, item_id: str) -> SentMessage:
        """Start a message: the first of those that must be sent again, if there are any."""
        message = self._pending.pop(0) if self._pending else SentMessage(item_id)
        self._messages[item_id] = message
        message.position = 0
        return message

    def unsent(self, item_id: str, delta: str) -> str:
        """Return the part of a delta that the client does not have."""
        message = self._messages[item_id]
        owed = len(message.sent) - message.position
        repeated, new = delta[:owed], delta[owed:]
        if not message.sent.startswith(repeated, message.position) or (new and message.is_complete):
            raise AnswerWithdrawn
        message.sent += new
        message.position += len(delta)
        return new

    def close(self, item_id: str) -> bool:
        """Complete a message; return whether that is new to the client."""
        message = self._messages[item_id]
        if message.position < len(message.sent):
            raise AnswerWithdrawn
        was_whole, message.is_complete = message.is_complete, True
        return not was_whole

    def retract(self, item_ids: Collection[str]) -> None:
        """Retract messages; they will be generated again."""
        withdrawn = [self._messages.pop(item_id) for item_id in [*self._messages] if item_id in item_ids]
        self._pending = [*withdrawn, *self._pending]
