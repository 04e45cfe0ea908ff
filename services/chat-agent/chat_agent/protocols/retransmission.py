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
class Message:
    """What a client has heard of one message, and how much of it was said in its newest telling."""

    item_id: str
    heard: str = ""
    said: int = 0
    is_whole: bool = False


class Repetition:
    """Holds back what a client has heard already; raises AnswerWithdrawn when it differs."""

    def __init__(self) -> None:
        self._messages: dict[str, Message] = {}
        self._owed: list[Message] = []

    @property
    def is_owed(self) -> bool:
        """Tell whether something must be said again."""
        return any(message.heard for message in self._owed)

    def begin(self, item_id: str) -> Message:
        """Begin a message: the first of those that are to be said again, if there are any."""
        message = self._owed.pop(0) if self._owed else Message(item_id)
        self._messages[item_id] = message
        message.said = 0
        return message

    def new(self, item_id: str, delta: str) -> str:
        """Give the part of a delta that the client has not heard."""
        message = self._messages[item_id]
        owed = len(message.heard) - message.said
        repeated, new = delta[:owed], delta[owed:]
        if not message.heard.startswith(repeated, message.said) or (new and message.is_whole):
            raise AnswerWithdrawn
        message.heard += new
        message.said += len(delta)
        return new

    def close(self, item_id: str) -> bool:
        """Note that a message is whole; tells whether that is new to the client."""
        message = self._messages[item_id]
        if message.said < len(message.heard):
            raise AnswerWithdrawn
        was_whole, message.is_whole = message.is_whole, True
        return not was_whole

    def withdraw(self, item_ids: Collection[str]) -> None:
        """Note that messages will be said anew."""
        withdrawn = [self._messages.pop(item_id) for item_id in [*self._messages] if item_id in item_ids]
        self._owed = [*withdrawn, *self._owed]
