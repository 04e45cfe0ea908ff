"""The service's own Postgres and Redis, stopped and started under it."""

from pathlib import Path
from uuid import uuid4

import httpx
import pytest
from billing_webhook.main import create_app
from pydantic import SecretStr
from redis.asyncio import Redis
from sandbox.embedded import Postgres, Valkey, free_port
from servicekit.database import Database
from stripe import WebhookSignature
from testkit.app import client
from testkit.databases import Databases
from testkit.live_server import serving

from .stream_helpers import Noted, commit, reading

FOLDER = Path(__file__).parents[1]
BODY = (
    '{"id": "evt_1", "object": "event", "type": "customer.created", "livemode": false, "created": 1790000000}'
)


def signature():
    return WebhookSignature.generate_signature_header(BODY, "whsec_for_these_tests")


@pytest.fixture(scope="module")
def own_postgres(tmp_path_factory):
    with Postgres(tmp_path_factory.mktemp("postgres"), free_port()) as server:
        yield server


@pytest.fixture(scope="module")
def own_redis(tmp_path_factory):
    with Valkey(tmp_path_factory.mktemp("redis"), free_port(), durable=True) as server:
        yield server


@pytest.fixture(scope="module")
def settings(settings, own_postgres, own_redis):
    database = Databases(own_postgres.url).migrated(FOLDER)
    return settings.model_copy(
        update={"database_url": SecretStr(database), "redis_url": SecretStr(own_redis.url)}
    )


@pytest.fixture
async def redis(own_redis):
    async with Redis.from_url(own_redis.url) as redis:
        yield redis


async def test_says_so_while_postgres_is_away(app, own_postgres, reader, tenant, stripe):
    own_postgres.stop()
    usage = await reader.get(f"/api/v1/billing/tenants/{tenant}/usage")
    headers = {"Content-Type": "application/json", "Stripe-Signature": signature()}
    webhook = await stripe.post("/webhooks/stripe", content=BODY, headers=headers)
    for answer in (usage, webhook):
        assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
        assert answer.headers["Retry-After"]
    forged = await stripe.post("/webhooks/stripe", content=BODY, headers={**headers, "Stripe-Signature": "x"})
    assert forged.status_code == 400
    async with client(app.state.internal) as inside:
        assert (await inside.get("/healthz")).status_code == 200
        ready = await inside.get("/readyz")
        assert (ready.status_code, ready.json()["checks"]["database"] != "ok") == (503, True)
    own_postgres.start()
    again = await stripe.post(
        "/webhooks/stripe", content=BODY, headers={**headers, "Stripe-Signature": signature()}
    )
    assert (again.status_code, again.json()["duplicate"]) == (202, False)


async def test_events_wait_while_postgres_is_away(own_postgres, ran, runs):
    await ran(("gpt", 3, 1))
    await runs(1)
    own_postgres.stop()
    await ran(("gpt", 4, 1))
    own_postgres.start()
    assert (await runs(2))["totals"]["input_tokens"] == 7


async def test_goes_on_when_redis_comes_back(  # fixtures
    own_redis, redis, ran, usage, runs, reader, chat_agent, tenant
):
    await ran(("gpt", 1, 1))
    own_redis.stop()
    # What needs no Redis is answered without it; limits hold, by the database.
    assert await usage()
    own = f"/api/v1/billing/tenants/{tenant}/entitlements/messages"
    assert (await reader.get(own)).json()["limit"] == "100"
    run = f"/internal/v1/tenants/{tenant}/reservations/{uuid4()}/calls/start"
    start = {"user_id": "user:ann", "agent": "triage", "model": "gpt", "messages": 101}
    assert (await chat_agent.put(run, json=start)).json()["code"] == "quota_exceeded"
    own_redis.start()
    await redis.connection_pool.disconnect()
    await ran(("gpt", 1, 1))
    await runs(2)


async def test_soft_limits_warn_and_let_through_without_redis(
    own_redis, reader, admin, chat_agent, tenant, subscribe
):
    billing = f"/api/v1/billing/tenants/{tenant}"
    usage = {"feature_key": "messages", "quantity": 49_999, "idempotency_key": "with"}
    await subscribe()
    assert (await admin.post(f"{billing}/usage", json=usage)).status_code == 201
    # What is cached must not matter: it is a version that the next change makes old.
    assert (await reader.get(f"{billing}/entitlements/messages")).json()["has_access"]
    own_redis.stop()
    more = {**usage, "quantity": 2, "idempotency_key": "without"}
    reported = await admin.post(f"{billing}/usage", json=more)
    assert (reported.status_code, reported.headers["x-quota-warning"].split(";")[0]) == (201, "messages")
    entitlement = (await reader.get(f"{billing}/entitlements/messages")).json()
    assert (entitlement["has_access"], entitlement["soft"], entitlement["overage"]) == (True, True, "1")
    run = f"/internal/v1/tenants/{tenant}/reservations/{uuid4()}/calls"
    request = {"user_id": "user:ann", "agent": "triage", "model": "gpt-5.1", "messages": 1}
    started = await chat_agent.put(f"{run}/start", json=request)
    assert (started.status_code, [each["feature"] for each in started.json()["warnings"]]) == (
        200,
        ["messages"],
    )
    # A change counts at once, by the database: a hard budget refuses what the soft limit lets through.
    budget = {"unit": "messages", "limit": 1}
    assert (await admin.post(f"{billing}/budgets", json=budget)).status_code == 201
    refused = await chat_agent.put(f"{run}/again", json=request)
    assert (refused.status_code in {402, 429}, refused.json()["code"]) == (True, "quota_exceeded")
    own_redis.start()


async def test_open_streams_wait_while_postgres_is_away(settings, issuer, own_postgres, tenant):
    on = {"enable_billing": True, "enable_billing_stream": True, "run_workers": False}
    headers = {"Authorization": f"Bearer {issuer.token(tenant_id=tenant, role='viewer')}"}
    database = Database(settings.database_url, name="test")
    with serving(create_app(settings.model_copy(update=on))) as url:
        async with (
            httpx.AsyncClient(base_url=url, headers=headers, timeout=60) as viewer,
            reading(viewer) as stream,
        ):
            await stream.next()
            await commit(database, tenant, Noted(text="before"))
            assert (await stream.event()).id == 1
            own_postgres.stop()
            refused = await viewer.get("/api/v1/billing/stream")
            assert (refused.status_code, refused.json()["code"]) == (503, "unavailable")
            own_postgres.start()
            await commit(database, tenant, Noted(text="after"))
            assert (await stream.event()).id == 2
    await database.close()
