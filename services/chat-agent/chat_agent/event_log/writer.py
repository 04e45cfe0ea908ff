"""Records what happens in all the runs of this process, in one round trip for all of them."""

import asyncio
import logging
from collections.abc import Sequence
from uuid import UUID

from redis.asyncio import Redis
from redis.exceptions import NoScriptError, RedisError
from servicekit.workers.base import check_cancelled, until_set

from chat_agent.event_log.buffer import RunLog
from chat_agent.event_log.store import APPEND, SHA, RunEvent, append_arguments

logger = logging.getLogger(__name__)

# What happens within this time is recorded together: far less than a frame of a screen, and with each run
# that has something to say a little more, so that many runs cost less each.
GATHER_SECONDS = (0.004, 0.04)
GATHER_SECONDS_A_RUN = 0.0005
PAUSES = (0.05, 1.0)


class Recorder:
    """Writes the logs of the runs that are alive here to Redis; a Worker.

    Redis down: what happens waits here, and readers wait with it; runs go on.
    """

    name = "recorder"

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._dirty: dict[UUID, RunLog] = {}
        self._wake = asyncio.Event()
        self._failures = 0

    def note(self, log: RunLog) -> None:
        """Hear that something happened in a run."""
        self._dirty[log.run_id] = log
        self._wake.set()

    async def recorded(self, log: RunLog, seconds: float) -> bool:
        """Wait until all that happened in a run is recorded; tells whether it is."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        while not log.is_recorded and loop.time() < deadline:
            self.note(log)
            await until_set(log.changed, deadline - loop.time())
        return log.is_recorded

    async def run(self) -> None:
        """Record, until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            await self._wake.wait()
            self._wake.clear()
            begun = loop.time()
            logs = list(self._dirty.values())
            try:
                await self._record(logs)
                self._failures = 0
            except (RedisError, OSError) as error:
                self._held_up(error)
            check_cancelled()
            await asyncio.sleep(self._rest(len(logs), loop.time() - begun))

    def healthy(self) -> bool:
        """Tell whether Redis takes what is recorded."""
        return not self._failures

    async def _record(self, logs: Sequence[RunLog]) -> None:
        batches = [(log, log.underway()) for log in logs]
        pipeline = self._redis.pipeline(transaction=False)
        for log, events in batches:
            self._add(pipeline, log, events)
        answers = await pipeline.execute(raise_on_error=False)
        failures = [
            failure
            for (log, _), answer in zip(batches, answers, strict=True)
            if (failure := await self._heed(log, answer)) is not None
        ]
        if failures:
            raise failures[0]

    def _add(self, pipeline: Redis, log: RunLog, events: Sequence[RunEvent]) -> None:
        arguments = append_arguments(log.attempt, log.keep_seconds, events, torn=log.is_torn)
        pipeline.evalsha(SHA, 2, *log.recorded.keys, *arguments)

    async def _heed(self, log: RunLog, answer: object) -> Exception | None:
        """Take in what Redis says to one log; gives the failure, which is not to hold up the others."""
        if isinstance(answer, NoScriptError):
            await self._redis.script_load(APPEND)
            self._wake.set()
            return None
        if isinstance(answer, Exception):
            return answer
        log.recorded_until(int(answer))  # type: ignore[call-overload]  # what APPEND gives
        if not log.is_recorded:
            self._wake.set()
        # Another writer of the same run may have begun here meanwhile.
        elif self._dirty.get(log.run_id) is log:
            del self._dirty[log.run_id]
        return None

    def _held_up(self, error: Exception) -> None:
        if not self._failures:
            logger.warning("runs are not recorded", extra={"error": type(error).__name__})
        self._failures += 1
        self._wake.set()

    def _rest(self, runs: int, took: float) -> float:
        if not self._failures:
            shortest, longest = GATHER_SECONDS
            return max(0.0, min(shortest + runs * GATHER_SECONDS_A_RUN, longest) - took)
        return min(PAUSES[1], PAUSES[0] * 2.0 ** min(self._failures, 10))
