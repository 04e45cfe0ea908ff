"""Servers that die under a relay and a consumer at work, and come back: nothing is lost, nothing twice."""

import asyncio
import logging
import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest
from sandbox.embedded import Postgres, Valkey, free_port
from servicekit.events.dead_letters import list_dead_letters
from servicekit.workers.supervisor import running_all


@pytest.fixture(scope="module")
def own_postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    with Postgres(tmp_path_factory.mktemp("postgres"), free_port()) as server:
        yield server


@pytest.fixture
def own_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    with Valkey(tmp_path_factory.mktemp("redis"), free_port(), durable=True) as server:
        yield server


def outage_lines(caplog: pytest.LogCaptureFixture, worker: str) -> list[str]:
    """List what a worker has said about its outages."""
    return [
        record.message
        for record in caplog.records
        if record.name == "servicekit.workers.base" and getattr(record, "worker", "").startswith(worker)
    ]


async def test_a_redis_that_is_killed_and_comes_back_has_lost_nothing(
    own_redis: Valkey, bus_url: str, bus_on: Any, until: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with bus_on(bus_url, own_redis.url) as bus:
        relay, consumer = bus.relay(), bus.consumer()
        async with running_all([relay, consumer]):
            for number in range(0, 100, 10):
                await bus.publish(*range(number, number + 10))
                if number == 50:
                    os.kill(own_redis.pid, signal.SIGKILL)
            await until(lambda: asyncio.sleep(0, not relay.healthy() and not consumer.healthy()))
            await asyncio.to_thread(own_redis.start)
            await until(lambda: bus.settled(*range(100)))
            await until(bus.all_sent)
            await until(lambda: asyncio.sleep(0, relay.healthy() and consumer.healthy()))
    for worker in ("relay", "notification"):
        words = outage_lines(caplog, worker)
        assert words == ["worker is held up", "worker goes on"] * (len(words) // 2)
        assert words


async def test_everything_is_published_again_to_a_redis_that_comes_back_empty(
    own_redis: Valkey, bus_url: str, bus_on: Any, until: Any
) -> None:
    async with bus_on(bus_url, own_redis.url) as bus:
        relay = bus.relay()
        async with running_all([relay]):
            await bus.publish(1, 2, 3)
            await until(bus.all_sent)
            os.kill(own_redis.pid, signal.SIGKILL)
            await until(lambda: asyncio.sleep(0, not relay.healthy()))
            for file in (own_redis.data_dir / "appendonlydir").iterdir():
                file.unlink()
            await asyncio.to_thread(own_redis.start)
            async with running_all([bus.consumer()]):
                await until(lambda: bus.settled(1, 2, 3))


async def test_a_postgres_that_restarts_loses_nothing_and_uses_up_no_delivery(
    own_postgres: Postgres, redis_url: str, bus_on: Any, until: Any
) -> None:
    async with bus_on(own_postgres.url, redis_url) as bus:
        relay, consumer = bus.relay(), bus.consumer(max_deliveries=1)
        async with running_all([relay, consumer]):
            await bus.publish(*range(20))
            await until(lambda: bus.settled(*range(20)))
            await asyncio.to_thread(own_postgres.stop)
            await bus.add(20)
            await until(lambda: asyncio.sleep(0, not relay.healthy() and not consumer.healthy()))
            # For as long as the database is away nothing is delivered again, or it would soon be given up.
            assert all(times <= 1 for _, times in await bus.pending())
            await asyncio.to_thread(own_postgres.start)
            await bus.publish(21)
            await until(lambda: bus.settled(*range(22)))
            await until(lambda: asyncio.sleep(0, relay.healthy() and consumer.healthy()))
        assert not await list_dead_letters(bus.redis, "notification")


async def test_workers_that_start_before_their_servers_wait_for_them(
    own_redis: Valkey, bus_url: str, bus_on: Any, until: Any
) -> None:
    async with bus_on(bus_url, own_redis.url) as bus:
        await asyncio.to_thread(own_redis.stop)
        await bus.publish(1)
        relay, consumer = bus.relay(), bus.consumer()
        async with running_all([relay, consumer]):
            await until(lambda: asyncio.sleep(0, not relay.healthy() and not consumer.healthy()))
            await asyncio.to_thread(own_redis.start)
            await until(lambda: bus.settled(1))
