"""The service's own Postgres and Redis, stopped and started under it."""

from pathlib import Path
from uuid import uuid4

import pytest
from pydantic import SecretStr
from sandbox.embedded import Postgres, Valkey, free_port
from testkit.app import client
from testkit.databases import Databases

SERVICE = Path(__file__).resolve().parent.parent
CONVERSATIONS = "/api/v1/conversations"


@pytest.fixture(scope="module")
def own_postgres(tmp_path_factory):
    with Postgres(tmp_path_factory.mktemp("postgres"), free_port()) as server:
        yield server


@pytest.fixture(scope="module")
def own_redis(tmp_path_factory):
    with Valkey(tmp_path_factory.mktemp("redis"), free_port()) as server:
        yield server


@pytest.fixture(scope="module")
def settings(settings, own_postgres, own_redis):
    database = Databases(own_postgres.url).migrated(SERVICE)
    return settings.model_copy(
        update={"database_url": SecretStr(database), "redis_url": SecretStr(own_redis.url)}
    )


async def test_says_so_while_postgres_is_away_and_goes_on_when_it_is_back(
    app, own_postgres, ann, service, begin
):
    conversation_id = await begin(ann, "kept")
    own_postgres.stop()

    answers = [
        await ann.get(CONVERSATIONS),
        await ann.post(CONVERSATIONS, json={}),
        await ann.post(CONVERSATIONS, json={}, headers={"Idempotency-Key": "while-away"}),
        await ann.get(f"{CONVERSATIONS}/{conversation_id}/items"),
        await ann.get(f"{CONVERSATIONS}/search?query=kept"),
        await service().put(f"/internal/v1/conversations/{uuid4()}", json={}),
    ]
    for answer in answers:
        assert (answer.status_code, answer.json()["code"]) == (503, "unavailable"), answer.request.url
        assert answer.headers["Retry-After"]
    assert (await client(app).get(CONVERSATIONS)).status_code == 401
    assert (await client(app.state.internal).get("/healthz")).status_code == 200
    ready = await client(app.state.internal).get("/readyz")
    assert ready.status_code == 503
    assert ready.json()["checks"]["database"] != "ok"

    own_postgres.start()
    [listed] = (await ann.get(CONVERSATIONS)).json()["items"]
    assert listed["last_message"] == "kept"
    again = await ann.post(CONVERSATIONS, json={}, headers={"Idempotency-Key": "while-away"})
    assert again.status_code == 201


async def test_needs_no_redis_to_answer(app, own_redis, ann, begin):
    own_redis.stop()

    assert (await ann.get(f"{CONVERSATIONS}/{await begin(ann, 'kept')}")).status_code == 200
    ready = await client(app.state.internal).get("/readyz")
    assert ready.json()["checks"]["redis"] != "ok"

    own_redis.start()
    assert (await client(app.state.internal).get("/readyz")).status_code == 200
