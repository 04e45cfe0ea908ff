"""The alarm: a key that is burnt is refused by every service within seconds, over real Redis."""

from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis
from servicekit.auth.tokens import InvalidToken
from servicekit.jwks import invalidation
from servicekit.jwks.cache import JwksCache
from servicekit.jwks.invalidation import CHANNEL, JwksInvalidationListener
from servicekit.workers.supervisor import running_all
from testkit.eventually import time_limit
from testkit.issuer import Issuer, JwksResponse


@pytest.fixture
def issuer():
    with Issuer() as issuer:
        yield issuer


@pytest.fixture
async def keys(issuer: Issuer) -> AsyncIterator[JwksCache]:
    cache = JwksCache(issuer.jwks_url)
    yield cache
    await cache.aclose()


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    async with Redis.from_url(redis_url) as redis:
        yield redis


async def listening(redis: Redis, listeners: int = 1) -> bool:
    return (await redis.pubsub_numsub(CHANNEL))[0][1] == listeners


async def is_refused(keys: JwksCache, kid: str) -> bool:
    try:
        await keys.get(kid)
    except InvalidToken:
        return True
    return False


async def test_a_burnt_key_is_refused_at_once_also_while_the_issuer_is_away(keys, issuer, redis, until):
    kid = issuer.key.kid
    async with running_all([JwksInvalidationListener(redis, keys)]):
        await until(lambda: listening(redis))
        assert (await keys.get(kid)).kid == kid
        issuer.answer = JwksResponse(status=503)
        await invalidation.publish_key_revocation(redis, [kid])
        async with time_limit():
            await until(lambda: is_refused(keys, kid))
    await until(lambda: listening(redis, 0))


async def test_a_change_is_looked_up_at_once(keys, issuer, redis, until):
    async with running_all([JwksInvalidationListener(redis, keys)]):
        await until(lambda: listening(redis))
        await keys.get(issuer.key.kid)
        old = issuer.key
        issuer.rotate()
        issuer.withdraw(old)
        await invalidation.publish_key_revocation(redis)
        async with time_limit():
            await until(lambda: is_refused(keys, old.kid))
        assert (await keys.get(issuer.key.kid)).kid == issuer.key.kid


async def test_signals_that_were_missed_are_caught_up_with(keys, issuer, redis, until):
    kid = issuer.key.kid
    await keys.get(kid)
    issuer.rotate()
    issuer.published = [issuer.key.jwk]
    await invalidation.publish_key_revocation(redis, [kid])
    async with running_all([JwksInvalidationListener(redis, keys)]), time_limit():
        await until(lambda: is_refused(keys, kid))


async def test_goes_on_after_the_connection_was_cut(keys, issuer, redis, until):
    old = issuer.key
    async with running_all([JwksInvalidationListener(redis, keys)]):
        await until(lambda: listening(redis))
        assert (await keys.get(old.kid)).kid == old.kid
        # Told in the very moment, when the message may be lost: then the source is asked anyway.
        await redis.client_kill_filter(_type="pubsub")
        issuer.rotate()
        issuer.withdraw(old)
        await invalidation.publish_key_revocation(redis, [old.kid])
        async with time_limit():
            await until(lambda: is_refused(keys, old.kid))
        await until(lambda: listening(redis))
        await invalidation.publish_key_revocation(redis, [issuer.key.kid])
        async with time_limit():
            await until(lambda: is_refused(keys, issuer.key.kid))


@pytest.mark.parametrize(
    "message", [b"", b"[]", b'{"burnt": "all"}', b'{"burnt": [1, null, "a/b"]}', b"\xff", b"{}"]
)
def test_a_message_that_cannot_be_read_names_no_key(message):
    assert invalidation.parse_key_ids(message) == []
