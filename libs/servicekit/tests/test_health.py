"""What `/readyz` says while a service starts, and of a Redis that answers and takes nothing."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from redis.asyncio import Redis
from sandbox.embedded import Valkey
from servicekit.app import create_service
from servicekit.settings import ServiceSettings
from testkit.app import client, running
from testkit.databases import Databases

BLOCKED_WRITES = {
    "OutOfMemoryError": ("CONFIG", "SET", "maxmemory", "1"),
    "ReadOnlyError": ("REPLICAOF", "127.0.0.1", "1"),
    "NoPermissionError": ("ACL", "SETUSER", "default", "resetkeys", "~elsewhere:*"),
}


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[Valkey]:
    with Valkey(tmp_path, durable=False) as server:
        yield server


@pytest.fixture
def settings(own_redis: Valkey, databases: Databases, common_settings: dict[str, Any]) -> ServiceSettings:
    own = {"database_url": databases.fresh("shop"), "redis_url": own_redis.url}
    return ServiceSettings(**{**common_settings, **own})


@pytest.fixture
async def app(settings: ServiceSettings) -> AsyncIterator[FastAPI]:
    async with running(create_service("shop", settings)) as app:
        yield app


async def readiness(app: FastAPI) -> httpx.Response:
    async with client(app.state.internal) as http:
        return await http.get("/readyz")


@pytest.mark.parametrize("error", BLOCKED_WRITES)
async def test_is_not_ready_while_redis_takes_no_writes(app: FastAPI, error: str) -> None:
    redis: Redis = app.state.resources.redis
    assert (await readiness(app)).status_code == 200

    await redis.execute_command(*BLOCKED_WRITES[error])

    assert await redis.ping()
    answer = await readiness(app)
    assert (answer.status_code, answer.json()["checks"]["redis"]) == (503, error)


async def test_is_ready_again_once_redis_takes_writes(app: FastAPI) -> None:
    redis: Redis = app.state.resources.redis
    await redis.config_set("maxmemory", "1")
    assert (await readiness(app)).status_code == 503
    await redis.config_set("maxmemory", "0")
    assert (await readiness(app)).status_code == 200


async def test_the_probe_leaves_nothing_for_good(app: FastAPI) -> None:
    await readiness(app)
    redis: Redis = app.state.resources.redis
    assert [await redis.ttl(key) > 0 for key in await redis.keys("shop:readyz*")] == [True]


async def test_checks_may_be_added_while_others_are_awaited(app: FastAPI) -> None:
    started, added = asyncio.Event(), asyncio.Event()

    async def slow() -> None:
        started.set()
        await added.wait()

    checks = app.state.resources.checks
    checks["slow"] = slow
    asking = asyncio.create_task(readiness(app))
    await started.wait()
    checks["late"] = app.state.resources.database.ping
    added.set()

    answer = await asking
    assert (answer.status_code, "late" in answer.json()["checks"]) == (200, False)
    assert (await readiness(app)).json()["checks"]["late"] == "ok"
