"""A service's own handlers under a consumer that gives up soon, for tests of what becomes a dead letter."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

from servicekit.app import build_resources
from servicekit.events.relay import Consumer, Handler, RetryPolicy
from servicekit.settings import ServiceSettings
from servicekit.workers.supervisor import running_all

IMPATIENT = RetryPolicy(max_deliveries=2, first_retry=0.05, block=0.1)


@asynccontextmanager
async def impatient_consumer(
    service: str, settings: ServiceSettings, sources: Sequence[str], handlers: Mapping[str, Handler]
) -> AsyncIterator[None]:
    """Run a service's consumer until the block ends; an event has two tries."""
    resources = build_resources(service, settings)
    consumer = Consumer(
        resources.database,
        resources.redis,
        service=service,
        sources=sources,
        handlers=handlers,
        retry_policy=IMPATIENT,
    )
    try:
        async with running_all([consumer]):
            yield
    finally:
        await resources.database.close()
        await resources.redis.aclose()
        await resources.http.aclose()
