"""Events that a service could not handle, stored with the reason until an operator replays or drops them."""

import re
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis

from servicekit.errors import NotFound
from servicekit.events.consumer_group import ConsumerGroup, Entry

# Names of CloudEvents attributes have no underscore, so these cannot hide one.
REASON, DELIVERIES, STREAM, ENTRY = b"dead_reason", b"dead_deliveries", b"dead_stream", b"dead_entry"
MAX_REASON = 500
ENTRY_ID = re.compile(r"\d{1,20}-\d{1,20}")


@dataclass(frozen=True)
class DeadLetter:
    """An entry of `dead:<service>`: where it came from, why it is here, and its fields as they were."""

    entry_id: str
    stream: str
    reason: str
    deliveries: int
    fields: dict[bytes, bytes]


class DeadLetterNotFound(NotFound):
    """There is no such dead letter."""

    default_detail = "There is no such dead letter."


def dead_letter_stream(service: str) -> str:
    """Return the key of the stream that holds a service's dead letters."""
    return f"dead:{service}"


async def dead_letter(group: ConsumerGroup, entry: Entry, reason: str) -> None:
    """Store an entry as a dead letter of the group's service."""
    letter: dict[Any, Any] = {
        **entry.fields,
        REASON: reason[:MAX_REASON],
        DELIVERIES: entry.deliveries,
        STREAM: group.stream,
        ENTRY: entry.id,
    }
    await group.redis.xadd(dead_letter_stream(group.name), letter)


async def list_dead_letters(
    redis: Redis, service: str, *, count: int = 100, after: str = ""
) -> list[DeadLetter]:
    """List a service's dead letters, oldest first; `after` is the last `entry_id` of the page before."""
    start = f"({after}" if after else "-"
    found: Any = await redis.xrange(dead_letter_stream(service), min=start, count=count)
    return [_from_fields(*entry) for entry in found]


async def get_dead_letter(redis: Redis, service: str, entry_id: str) -> DeadLetter:
    """Return one dead letter; raises DeadLetterNotFound."""
    if not ENTRY_ID.fullmatch(entry_id):
        raise DeadLetterNotFound
    found: Any = await redis.xrange(dead_letter_stream(service), min=entry_id, max=entry_id)
    if not found:
        raise DeadLetterNotFound
    return _from_fields(*found[0])


async def drop_dead_letter(redis: Redis, service: str, entry_id: str) -> None:
    """Delete a dead letter for good; raises DeadLetterNotFound."""
    letter = await get_dead_letter(redis, service, entry_id)
    await redis.xdel(dead_letter_stream(service), letter.entry_id)


async def replay_dead_letter(redis: Redis, service: str, entry_id: str) -> None:
    """Put a dead letter back into the stream that it came from; raises DeadLetterNotFound.

    Every group of that stream gets it again; those that have handled it skip it, by its event id.
    """
    letter = await get_dead_letter(redis, service, entry_id)
    fields: dict[Any, Any] = letter.fields
    # In this order a crash in between leaves it twice, which readers notice, not nowhere.
    await redis.xadd(letter.stream, fields)
    await redis.xdel(dead_letter_stream(service), entry_id)


def _from_fields(entry_id: bytes, fields: dict[bytes, bytes]) -> DeadLetter:
    return DeadLetter(
        entry_id=entry_id.decode(),
        stream=fields[STREAM].decode(),
        reason=fields[REASON].decode(errors="replace"),
        deliveries=int(fields[DELIVERIES]),
        fields={name: value for name, value in fields.items() if not name.startswith(b"dead_")},
    )
