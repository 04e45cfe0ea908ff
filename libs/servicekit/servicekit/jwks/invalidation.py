"""Invalidates cached keys as soon as a signing key is revoked, by Redis publish/subscribe.

What is missed costs no more than the key set's own age: `JwksCache` asks in time by itself, and this asks
whenever the connection was lost and is back.
"""

import asyncio
import logging
from collections.abc import Iterable

import orjson
from redis.asyncio import Redis

from servicekit.auth import jose
from servicekit.jwks.cache import JwksCache
from servicekit.workers.base import LoopWorker

logger = logging.getLogger(__name__)

CHANNEL = "auth:jwks:changed"
MAX_KIDS = 32
LISTEN_SECONDS = 5.0


class JwksInvalidationListener(LoopWorker):
    """Refreshes the key set on a message; keys that the message names as revoked are dropped at once."""

    def __init__(self, redis: Redis, keys: JwksCache) -> None:
        super().__init__("key-alarm")
        self._keys = keys
        self._redis = redis
        self._channel = redis.pubsub(ignore_subscribe_messages=True)

    async def begin(self) -> None:
        """Subscribe, and refresh the keys once for messages that were missed."""
        await self._channel.aclose()  # type: ignore[no-untyped-call]  # redis-py leaves it unannotated
        # A new one: what was lost of the one before would be taken up in the middle.
        self._channel = self._redis.pubsub(ignore_subscribe_messages=True)
        await self._channel.subscribe(CHANNEL)
        await self._keys.refresh_now()

    async def step(self) -> float:
        """Receive at most one message."""
        message = await self._channel.get_message(timeout=LISTEN_SECONDS)
        if message is not None:
            burnt = parse_key_ids(message["data"])
            logger.warning("signing keys changed", extra={"burnt": burnt})
            await self._keys.refresh_now(drop=burnt)
        return 0

    def healthy(self) -> bool:
        """Return True: without messages, keys are still refreshed in time."""
        return True

    async def run(self) -> None:
        """Listen until cancelled."""
        try:
            await super().run()
        finally:
            await asyncio.shield(self._channel.aclose())  # type: ignore[no-untyped-call]  # as above


def parse_key_ids(data: bytes) -> list[str]:
    """Return the key ids in a message; none if it is malformed."""
    try:
        message = orjson.loads(data)
    except ValueError:
        return []
    kids = message.get("burnt") if isinstance(message, dict) else None
    return [kid for kid in kids[:MAX_KIDS] if jose.is_kid(kid)] if isinstance(kids, list) else []


async def publish_key_revocation(redis: Redis, burnt: Iterable[str] = ()) -> None:
    """Make every verifier fetch the keys now, and reject the revoked ones for good; raises RedisError."""
    await redis.publish(CHANNEL, orjson.dumps({"burnt": list(burnt)}))
