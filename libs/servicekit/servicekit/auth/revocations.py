"""Revoked tokens: published in Redis, and cached in memory by every service.

Each process reads new revocations when a message comes, and every five seconds; verification needs no call.
A mark is what is revoked and when, in whole seconds:

- `session:<sid>` and `token:<jti>` are revoked for good;
- `subject:<sub>`, `client:<client_id>` and `tenant:<id>` revoke all tokens that were issued until then, of a
  tenant only those of machines (the sessions of its people are revoked one by one);
- `session:*` revokes every session whose last proof of identity is older. The time of issue would not do: a
  token that is issued while sessions end would stay valid.

While Redis is down, known revocations stay in effect, and new ones wait.
"""

import asyncio
import contextlib
import logging
import math
import time
from collections.abc import Callable, Collection

from prometheus_client import Gauge
from redis.asyncio import Redis
from redis.asyncio.client import PubSub
from redis.exceptions import RedisError

from servicekit.auth.tokens import MAX_LEEWAY_SECONDS, MAX_LIFETIME_SECONDS, Principal
from servicekit.workers.base import BACKOFF_SECONDS, LoopWorker, Throttle

logger = logging.getLogger(__name__)

KEY = "revocations"
EVERY_SESSION = "session:*"
# After that no token is left that a verifier would take: the longest life, the most leeway, and a minute.
REMEMBERED_SECONDS = MAX_LIFETIME_SECONDS + MAX_LEEWAY_SECONDS + 60
CHANNEL = f"{KEY}:changed"
# A message wakes a service at once; this is for one that was lost.
POLL_SECONDS = 5.0
PAGE = 1000
# Clocks of a Redis that fails over may differ, so that much is read again; and everything once in a while.
OVERLAP_MICRO = 5_000_000
EVERYTHING_SECONDS = 60.0
# How long a start waits for the first reading.
FIRST_SECONDS = 2.0

AGE = Gauge("revocations_age_seconds", "Time since revocations were last read.", ["service"])
KNOWN = Gauge("revocations_known", "Revocations that are not expired.", ["service"])

# KEYS: the sorted set. ARGV: µs to remember, then marks. A mark's score is when it was first published (µs),
# so that readers can ask for what is new.
PUBLISH = """
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - ARGV[1])
local added = 0
for i = 2, #ARGV do added = added + redis.call('ZADD', KEYS[1], 'NX', now, ARGV[i]) end
redis.call('PEXPIRE', KEYS[1], math.ceil(ARGV[1] / 1000))
if added > 0 then redis.call('PUBLISH', KEYS[1] .. ':changed', added) end
"""


def format_entry(kind: str, name: str, at: float) -> str:
    """Format an entry: what is revoked, and when (seconds since 1970)."""
    return f"{kind}:{name}@{math.floor(at)}"


def proved_at(principal: Principal) -> int:
    """Return the time of a person's last authentication, from the token."""
    return principal.issued_at if principal.auth_time is None else principal.auth_time


async def publish(redis: Redis, marks: Collection[str]) -> None:
    """Publish revocations to every service; repeating it is harmless."""
    script = redis.register_script(PUBLISH)
    await script([KEY], [REMEMBERED_SECONDS * 1_000_000, *marks])


class Revocations(LoopWorker):
    """The revocations that a process knows; a TokenVerifier calls `is_revoked`."""

    def __init__(
        self,
        redis: Redis,
        service: str,
        *,
        every: float = POLL_SECONDS,
        pauses: tuple[float, float] = (BACKOFF_SECONDS[0], 1.0),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__("revocations", pauses)
        self._redis = redis
        self._every = every
        self._clock = clock
        # What is revoked: at what time, and until when (by our clock) that must be known.
        self._known: dict[str, tuple[int, float]] = {}
        self._newest = 0
        self._channel: PubSub | None = None
        self._all = Throttle(EVERYTHING_SECONDS)
        self._read_at = -math.inf
        AGE.labels(service).set_function(lambda: self._clock() - self._read_at)
        KNOWN.labels(service).set_function(lambda: len(self._known))

    async def is_revoked(self, principal: Principal) -> bool:
        """Return whether a token was revoked."""
        known = self._known
        if not known:
            return False
        if f"session:{principal.session_id}" in known or f"token:{principal.token_id}" in known:
            return True
        if EVERY_SESSION in known and principal.session_id and proved_at(principal) < known[EVERY_SESSION][0]:
            return True
        whose = [f"subject:{principal.subject}", f"client:{principal.client_id}"]
        if principal.session_id is None:
            whose.append(f"tenant:{principal.tenant_id}")
        return any(one in known and principal.issued_at <= known[one][0] for one in whose)

    async def warmup(self) -> None:
        """Load the revocations before the first request, if Redis answers in time."""
        with contextlib.suppress(RedisError, OSError, TimeoutError):
            async with asyncio.timeout(FIRST_SECONDS):
                await self.begin()
                await self.step()

    async def begin(self) -> None:
        """Read everything next, as messages may have been missed."""
        await self._unsubscribe()
        self._all.hurry()

    async def step(self) -> float:
        """Read new revocations, and drop expired ones."""
        await self._read(0 if self._all.due() else self._newest - OVERLAP_MICRO)
        self._forget()
        self._read_at = self._clock()
        return self._every

    async def idle(self, seconds: float) -> None:
        """Idle until something is revoked, but no longer than so many seconds."""
        if self._channel is None:
            # What was published before this subscription is read by the next step, at once.
            self._channel = self._redis.pubsub(ignore_subscribe_messages=True)
            await self._channel.subscribe(CHANNEL)
        else:
            await self._channel.get_message(timeout=seconds)

    async def run(self) -> None:
        """Read until cancelled."""
        try:
            await super().run()
        finally:
            await asyncio.shield(self._unsubscribe())

    async def _unsubscribe(self) -> None:
        channel, self._channel = self._channel, None
        if channel is not None:
            await channel.aclose()  # type: ignore[no-untyped-call]  # redis-py leaves it unannotated

    async def _read(self, since: int) -> None:
        start, newest = 0, self._newest if since else 0
        while True:
            # The newest first: what comes or goes meanwhile makes us read something twice, and miss nothing.
            page = await self._page(max(since, 0), start)
            for entry, score in page:
                self._learn(entry.decode())
                newest = max(newest, int(score))
            if len(page) < PAGE:
                break
            start += PAGE
        self._newest = newest

    async def _page(self, since: int, start: int) -> list[tuple[bytes, float]]:
        answer = self._redis.zrevrangebyscore(KEY, "+inf", since, start=start, num=PAGE, withscores=True)
        page: list[tuple[bytes, float]] = await answer  # type: ignore[assignment]  # so it is with scores
        return page

    def _learn(self, entry: str) -> None:
        what, _, at = entry.rpartition("@")
        if not what or not at.isdigit():
            logger.error("a revocation cannot be read", extra={"length": len(entry)})
            return
        before = self._known.get(what)
        if before is None or before[0] < int(at):
            self._known[what] = (int(at), self._clock() + REMEMBERED_SECONDS)

    def _forget(self) -> None:
        now = self._clock()
        for what in [what for what, (_, until) in self._known.items() if until < now]:
            del self._known[what]
