"""Writes the events of all runs of this process to Redis, in one round trip for all of them."""

import asyncio
import logging
from collections.abc import Sequence
from uuid import UUID

from redis.asyncio import Redis
from redis.exceptions import NoScriptError, RedisError
from servicekit.backoff import exponential
from servicekit.workers.base import check_cancelled, until_set

from chat_agent.event_log.buffer import EventBuffer
from chat_agent.event_log.store import APPEND, APPEND_SHA, RunEvent, script_args

logger = logging.getLogger(__name__)

# What happens within this time is recorded together: far less than a frame of a screen, and with each run
# that has something to say a little more, so that many runs cost less each.
BATCH_SECONDS = (0.004, 0.04)
BATCH_SECONDS_PER_RUN = 0.0005
BACKOFF_SECONDS = (0.05, 1.0)


class EventWriter:
    """Writes the logs of the runs that are alive here to Redis; a Worker.

    While Redis is down, events wait here, and readers with them; runs continue.
    """

    name = "recorder"

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._dirty: dict[UUID, EventBuffer] = {}
        self._wake = asyncio.Event()
        self._failures = 0

    def mark_dirty(self, log: EventBuffer) -> None:
        """Mark a run's log as having unwritten events."""
        self._dirty[log.run_id] = log
        self._wake.set()

    async def flush(self, log: EventBuffer, seconds: float) -> bool:
        """Wait for some seconds until all events of a run are written; return whether they are."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        while not log.is_flushed and loop.time() < deadline:
            self.mark_dirty(log)
            await until_set(log.changed, deadline - loop.time())
        return log.is_flushed

    async def run(self) -> None:
        """Write, until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            await self._wake.wait()
            self._wake.clear()
            started = loop.time()
            logs = list(self._dirty.values())
            try:
                await self._write(logs)
                self._failures = 0
            except (RedisError, OSError) as error:
                self._note_failure(error)
            check_cancelled()
            await asyncio.sleep(self._pause(len(logs), loop.time() - started))

    def healthy(self) -> bool:
        """Return whether Redis accepts what is written."""
        return not self._failures

    async def _write(self, logs: Sequence[EventBuffer]) -> None:
        batches = [(log, log.unacknowledged()) for log in logs]
        pipeline = self._redis.pipeline(transaction=False)
        for log, events in batches:
            self._add(pipeline, log, events)
        answers = await pipeline.execute(raise_on_error=False)
        failures = [
            failure
            for (log, _), answer in zip(batches, answers, strict=True)
            if (failure := await self._apply_reply(log, answer)) is not None
        ]
        if failures:
            raise failures[0]

    def _add(self, pipeline: Redis, log: EventBuffer, events: Sequence[RunEvent]) -> None:
        arguments = script_args(log.attempt, log.ttl_seconds, events, has_gap=log.has_gap)
        pipeline.evalsha(APPEND_SHA, 2, *log.store.keys, *arguments)

    async def _apply_reply(self, log: EventBuffer, answer: object) -> Exception | None:
        """Apply Redis's reply to one log; return the failure, which must not delay the others."""
        if isinstance(answer, NoScriptError):
            await self._redis.script_load(APPEND)
            self._wake.set()
            return None
        if isinstance(answer, Exception):
            return answer
        log.acknowledge(int(answer))  # type: ignore[call-overload]  # what APPEND gives
        if not log.is_flushed:
            self._wake.set()
        # Another writer of the same run may have begun here meanwhile.
        elif self._dirty.get(log.run_id) is log:
            del self._dirty[log.run_id]
        return None

    def _note_failure(self, error: Exception) -> None:
        if not self._failures:
            logger.warning("runs are not recorded", extra={"error": type(error).__name__})
        self._failures += 1
        self._wake.set()

    def _pause(self, runs: int, took: float) -> float:
        if not self._failures:
            shortest, longest = BATCH_SECONDS
            return max(0.0, min(shortest + runs * BATCH_SECONDS_PER_RUN, longest) - took)
        return exponential(self._failures + 1, *BACKOFF_SECONDS)
