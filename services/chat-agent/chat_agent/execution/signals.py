"""Signals between replicas: that runs must stop, or that there are runs to claim.

None of them has to arrive: everything is in the database, which each replica reads every few seconds.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping

import orjson
from redis.asyncio import Redis
from redis.exceptions import RedisError
from servicekit.workers.base import LoopWorker

logger = logging.getLogger(__name__)

CHANNEL = "chat-agent:signals"
READ_TIMEOUT_SECONDS = 5.0


class Signals(LoopWorker):
    """Receives signals of other replicas; a Worker."""

    def __init__(self, redis: Redis, handler: Callable[[dict[str, str]], Awaitable[None]]) -> None:
        super().__init__("signals")
        self._redis = redis
        self._handler = handler
        self._pubsub = redis.pubsub(ignore_subscribe_messages=True)

    async def begin(self) -> None:
        """Subscribe, again after every failure."""
        await self._pubsub.aclose()  # type: ignore[no-untyped-call]
        self._pubsub = self._redis.pubsub(ignore_subscribe_messages=True)
        await self._pubsub.subscribe(CHANNEL)

    async def step(self) -> float:
        """Receive one signal, if one comes."""
        message = await self._pubsub.get_message(timeout=READ_TIMEOUT_SECONDS)
        if message is not None:
            await self._handler(orjson.loads(message["data"]))
        return 0

    async def broadcast(self, stopped: Mapping[str, str]) -> None:
        """Broadcast that these runs must stop, and how, and that there may be runs to claim."""
        try:
            async with asyncio.timeout(1):
                await self._redis.publish(CHANNEL, orjson.dumps(dict(stopped)))
        except (RedisError, OSError) as error:
            logger.warning("signal not sent", extra={"error": type(error).__name__})
