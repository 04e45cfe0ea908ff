"""Compares what a client has of a conversation with what is stored: what differs is superseded."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Any, NamedTuple

from chat_agent.event_log.recovery import join_text

Item = dict[str, Any]


class Difference(NamedTuple):
    """How many of the stored items stay, and the client's items that come after them."""

    unchanged: int
    added: list[Item]


@dataclass
class Turn:
    """What a user said, if it is known, and all that came after it."""

    message: str | None = None
    answer: str = ""
    items: list[Item] = field(default_factory=list)

    def matches(self, other: "Turn") -> bool:
        """Return whether both are the same turn; of an answer, either may have only the beginning."""
        is_same = self.message == other.message
        return is_same and (self.answer.startswith(other.answer) or other.answer.startswith(self.answer))


def difference(client: Sequence[Item], stored: Sequence[Item]) -> Difference:
    """Compare turn by turn. Where nothing that is stored differs, nothing is added either.

    What a client has beyond that was deleted here, and stays deleted.
    """
    stored_head, *stored_turns = split_turns(stored)
    _, *client_turns = split_turns(client)
    if stored_head.answer:  # the rest of a turn whose beginning was deleted
        answers = [turn.answer for turn in client_turns]
        if stored_head.answer not in answers:
            return Difference(len(stored), [])
        client_turns = client_turns[answers.index(stored_head.answer) + 1 :]
    pairs = zip(client_turns, stored_turns, strict=False)
    same = sum(1 for _ in takewhile(lambda pair: pair[0].matches(pair[1]), pairs))
    unchanged = len(stored_head.items) + sum(len(turn.items) for turn in stored_turns[:same])
    if same == len(stored_turns):
        return Difference(unchanged, [])
    return Difference(unchanged, [item for turn in client_turns[same:] for item in turn.items])


def split_turns(items: Sequence[Item]) -> Iterator[Turn]:
    """Yield what comes before the first message of the user, and then their turns."""
    turn = Turn()
    for item in items:
        if item.get("role") == "user":
            yield turn
            turn = Turn(without_whitespace(item["content"]))
        elif item.get("role") == "assistant":
            turn.answer += without_whitespace(item["content"])
        turn.items.append(item)
    yield turn


def without_whitespace(content: Any) -> str:
    """Return the text of a message; clients join its parts differently."""
    return "".join(join_text(content).split())
