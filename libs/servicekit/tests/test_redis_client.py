import asyncio

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError
from servicekit import redis_client
from servicekit.settings import ServiceSettings


@pytest.fixture
def settings(redis_url: str) -> ServiceSettings:
    return ServiceSettings(
        environment="test",
        database_url="postgresql+asyncpg://nobody@localhost/none",
        redis_url=redis_url,
        auth_issuer="https://auth.test",
        auth_jwks_url="https://auth.test/jwks.json",
        auth_internal_url="https://auth.test",
    )


async def test_says_in_the_words_of_redis_that_a_connection_was_lost(settings: ServiceSettings) -> None:
    async with redis_client.connect(settings) as redis:
        connection = await redis.connection_pool.get_connection()
        connection._writer.transport.abort()
        with pytest.raises(RedisConnectionError):
            await connection.send_command("PING")
        await redis.connection_pool.release(connection)
        assert await redis.ping()


async def test_more_commands_than_connections_wait_for_each_other(settings: ServiceSettings) -> None:
    async with redis_client.connect(settings) as redis:
        number = redis_client.MAX_CONNECTIONS * 3
        answers = await asyncio.gather(
            *(redis.blpop([f"nothing:{one}"], timeout=0.1) for one in range(number))
        )
    assert answers == [None] * number
