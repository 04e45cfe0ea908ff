"""The Redis client of every service."""

from collections.abc import Iterable

from redis.asyncio import Redis
from redis.asyncio.connection import AbstractConnection, BlockingConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialWithJitterBackoff
from redis.exceptions import ConnectionError as RedisConnectionError

from servicekit.settings import ServiceSettings

PROBE_SECONDS = 60
# Of a process; whoever needs one more waits. redis-py's own pool refuses the hundred and first at once.
MAX_CONNECTIONS = 100
WAIT_SECONDS = 10
CONNECT_SECONDS = 2


def connect(settings: ServiceSettings) -> Redis:
    """Create the client, with short timeouts and one retry, so that a restart of Redis causes no errors."""
    pool = BlockingConnectionPool.from_url(
        settings.redis_url.get_secret_value(),
        max_connections=MAX_CONNECTIONS,
        timeout=WAIT_SECONDS,
        socket_connect_timeout=CONNECT_SECONDS,
        socket_timeout=10,
        health_check_interval=15,
        retry=Retry(ExponentialWithJitterBackoff(cap=0.5, base=0.05), 2),
        retry_on_error=[RedisConnectionError],
    )
    pool.connection_class = raising_connection_error(pool.connection_class)
    return Redis.from_pool(pool)


def raising_connection_error(kind: type[AbstractConnection]) -> type[AbstractConnection]:
    """Make a kind of connection that says in Redis' own words that it was lost.

    uvloop raises RuntimeError where asyncio's own loop raises an OSError, when something is written to a
    connection that was closed a moment ago.
    """

    class Connection(kind):  # type: ignore[misc, valid-type]  # plain or with TLS, as the address says
        async def send_packed_command(
            self, command: bytes | str | Iterable[bytes], check_health: bool = True
        ) -> None:
            try:
                await super().send_packed_command(command, check_health)
            except RuntimeError as error:
                raise RedisConnectionError("The connection was closed.") from error

    return Connection


async def write_probe(redis: Redis, service: str) -> None:
    """Write a key of the service's own, for `/readyz`.

    PING also succeeds where no write does: on a replica, without memory left, with an ACL without our keys.
    """
    await redis.set(f"{service}:readyz", "ok", ex=PROBE_SECONDS)
