"""What is told to those who run a service: that something was asked and failed, not what was in it."""

import pytest
from fastapi import APIRouter
from servicekit.app import ResourcesDep, create_service
from servicekit.auth.dependencies import public
from servicekit.database import Session
from servicekit.http.client import NoResponse
from servicekit.settings import ServiceSettings
from sqlalchemy import text
from testkit.app import client, running

ADDRESS, QUESTION = "ann@canary.example", "what-nobody-else-should-read"
router = APIRouter(dependencies=[public])


@router.get("/twice")
async def add_somebody_twice(session: Session) -> None:
    for _ in range(2):
        await session.execute(text("insert into people values (:address)"), {"address": ADDRESS})


@router.get("/elsewhere")
async def ask_somebody_else(resources: ResourcesDep) -> None:
    with pytest.raises(NoResponse):
        await resources.http.exchange("GET", f"http://127.0.0.1:9/search?query={QUESTION}", {}, None)
    async with resources.database.begin() as db:
        await db.execute(text("select :question"), {"question": QUESTION})
    await resources.redis.set(f"asked:{QUESTION}", ADDRESS)


@pytest.fixture
def settings(databases, redis_url, issuer, captured_telemetry):
    return ServiceSettings(
        environment="test",
        debug=True,
        database_url=databases.fresh("discreet"),
        redis_url=redis_url,
        auth_issuer=issuer.issuer,
        auth_jwks_url=issuer.jwks_url,
        **captured_telemetry.settings,
    )


@pytest.fixture
async def http(settings):
    async with running(create_service("discreet", settings, routers=[router])) as app:
        async with app.state.resources.database.begin() as db:
            await db.execute(text("create table if not exists people (address text unique)"))
        async with client(app) as http:
            yield http


async def test_an_error_of_the_database_shows_no_row(http, captured_telemetry):
    answer = await http.get("/twice")
    assert answer.status_code == 500
    assert "UniqueViolationError" in captured_telemetry.logs
    assert "violates unique constraint" in captured_telemetry.traces
    assert captured_telemetry.leaks(ADDRESS) == []


async def test_no_query_and_no_value_is_traced(http, captured_telemetry):
    assert (await http.get("/elsewhere", params={"token": QUESTION})).status_code == 200
    assert captured_telemetry.instrumented_libraries >= {"fastapi", "sqlalchemy", "redis", "aiohttp_client"}
    assert "http://127.0.0.1:9/search" in captured_telemetry.traces
    assert captured_telemetry.leaks(QUESTION, ADDRESS) == []


async def test_a_secret_in_the_output_is_detected(http, captured_telemetry):
    await http.get("/twice", headers={"X-Request-Id": "shown-on-purpose"})
    assert captured_telemetry.leaks("shown-on-purpose") == ["logs: shown-on-purpose"]
