import pytest
from redis.exceptions import ConnectionError as RedisConnectionError
from servicekit import redis_client
from servicekit.settings import ServiceSettings


async def test_says_in_the_words_of_redis_that_a_connection_was_lost(redis_url: str) -> None:
    settings = ServiceSettings(
        environment="test",
        database_url="postgresql+asyncpg://nobody@localhost/none",
        redis_url=redis_url,
        auth_issuer="https://auth.test",
        auth_jwks_url="https://auth.test/jwks.json",
        auth_internal_url="https://auth.test",
    )
    async with redis_client.connect(settings) as redis:
        connection = await redis.connection_pool.get_connection()
        connection._writer.transport.abort()
        with pytest.raises(RedisConnectionError):
            await connection.send_command("PING")
        await redis.connection_pool.release(connection)
        assert await redis.ping()
