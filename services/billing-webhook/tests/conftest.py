import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from billing_webhook import entitlement_versions
from billing_webhook.main import create_app
from billing_webhook.models import Subscription
from billing_webhook.settings import Settings
from billing_webhook.stripe_events import retries
from fastapi import FastAPI
from redis.asyncio import Redis
from servicekit.database import Database
from sqlalchemy import text, update
from stripe import WebhookSignature
from testkit.app import client, running
from testkit.eventually import until_async
from testkit.issuer import Issuer
from testkit.live_server import serving

from .sandbox_stripe import Sandbox, stripe_sandbox
from .stripe_api import DISPATCHES, MAP_CUSTOMER, StripeApi

SECRET = "whsec_for_these_tests"


@pytest.fixture(scope="session")
def settings(migrated: Callable[[str], str], common_settings: dict[str, Any]) -> Settings:
    return Settings(
        **common_settings,
        database_url=migrated("billing-webhook"),
        stripe_webhook_secret=SECRET,
        enable_billing=True,
        app_public_url="https://app.acme.example",
    )


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    """The sandbox's Stripe, with the prices of the plans; a service reads all that a Stripe has ever held."""
    with stripe_sandbox() as sandbox:
        yield sandbox


@pytest.fixture
async def app(settings: Settings) -> AsyncIterator[FastAPI]:
    async with running(create_app(settings)) as app:
        yield app


@pytest.fixture
def tenant() -> UUID:
    return uuid4()


@pytest.fixture
async def reader(app: FastAPI, issuer: Issuer, tenant: UUID) -> AsyncIterator[httpx.AsyncClient]:
    """A viewer of the tenant."""
    async with client(app, issuer.token(tenant_id=tenant, role="viewer")) as http:
        yield http


@pytest.fixture
async def admin(app: FastAPI, issuer: Issuer, tenant: UUID) -> AsyncIterator[httpx.AsyncClient]:
    """An administrator of the tenant."""
    async with client(app, issuer.token(tenant_id=tenant, role="admin")) as http:
        yield http


@pytest.fixture
async def owner(app: FastAPI, issuer: Issuer, tenant: UUID) -> AsyncIterator[httpx.AsyncClient]:
    """The owner of the tenant, whose paths begin at those of the tenant."""
    async with client(app, issuer.token(tenant_id=tenant)) as http:
        http.base_url = httpx.URL(f"{http.base_url}/api/v1/billing/tenants/{tenant}/")
        yield http


@pytest.fixture
async def chat_agent(app: FastAPI, issuer: Issuer) -> AsyncIterator[httpx.AsyncClient]:
    """The service that reserves what runs use."""
    token = issuer.service_token("chat-agent", audience="billing-webhook", scope="billing:reserve")
    async with client(app.state.internal, token) as http:
        yield http


@pytest.fixture
def subscribe(app: FastAPI, tenant: UUID) -> Callable[..., Awaitable[None]]:
    """Store the subscription of the tenant as Stripe's state says that it is."""

    async def add(**columns: Any) -> None:
        now = datetime.now(UTC)
        proper = {
            "tenant_id": tenant,
            "stripe_subscription_id": f"sub_{uuid4().hex}",
            "plan_code": "pro",
            "status": "active",
            "seats": 1,
            "items": [],
            "started_at": now - timedelta(days=100),
            "current_period_start": now - timedelta(days=10),
            "current_period_end": now + timedelta(days=20),
        }
        async with app.state.resources.database.begin() as db:
            db.add(Subscription(**{**proper, **columns}))
            await entitlement_versions.increment(db, tenant)

    return add


@pytest.fixture
def change_subscription(app: FastAPI, tenant: UUID) -> Callable[..., Awaitable[None]]:
    """Change the tenant's subscription, as an event of Stripe does."""

    async def change(**columns: Any) -> None:
        async with app.state.resources.database.begin() as db:
            await db.execute(update(Subscription).where(Subscription.tenant_id == tenant).values(columns))
            await entitlement_versions.increment(db, tenant)

    return change


@pytest.fixture
async def stripe(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """Stripe, as far as we hear of it."""
    async with client(app) as http:
        yield http


def an_event(type_: str = "customer.subscription.updated", **changes: Any) -> dict[str, Any]:
    """Make a snapshot event, as Stripe sends it."""
    event = {
        "id": f"evt_{uuid4().hex}",
        "object": "event",
        "api_version": "2026-10-28.endive",
        "created": int(time.time()),
        "livemode": False,
        "pending_webhooks": 1,
        "request": {"id": "req_1", "idempotency_key": None},
        "type": type_,
        "data": {"object": {"id": "sub_1", "object": "subscription", "customer": "cus_1"}},
    }
    return {**event, **changes}


@pytest.fixture
def make_event() -> Callable[..., dict[str, Any]]:
    return an_event


@pytest.fixture
def post_event(stripe: httpx.AsyncClient) -> Callable[..., Awaitable[httpx.Response]]:
    """Send an event to the webhook, signed."""

    async def post(event: dict[str, Any]) -> httpx.Response:
        body = json.dumps(event, indent=2)
        signature = WebhookSignature.generate_signature_header(body, SECRET, int(time.time()))
        headers = {"Content-Type": "application/json", "Stripe-Signature": signature}
        return await stripe.post("/webhooks/stripe", content=body, headers=headers)

    return post


@pytest.fixture
def rows(app: FastAPI) -> Callable[..., Awaitable[Any]]:
    """Read rows of the service's database."""

    async def read(query: str, **values: Any) -> Any:
        async with app.state.resources.database.begin() as db:
            return (await db.execute(text(query), values)).all()

    return read


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    async with Redis.from_url(redis_url) as redis:
        yield redis


def a_run(tenant: UUID, *usage: tuple[str, int, int], **changes: Any) -> dict[str, Any]:
    """Make the data of a `chat.run.completed.v1`; `usage` is (model, tokens in, tokens out) for each."""
    now = datetime.now(UTC).isoformat()
    return {
        "run_id": str(uuid4()),
        "conversation_id": str(uuid4()),
        "tenant_id": str(tenant),
        "user_id": f"user:{uuid4()}",
        "agent": "triage",
        "status": "completed",
        "usage": [
            {
                "model": model,
                "requests": 1,
                "input_tokens": taken,
                "output_tokens": given,
                "cached_tokens": 2,
                "reasoning_tokens": 1,
            }
            for model, taken, given in usage
        ],
        "estimated": False,
        "started_at": now,
        "completed_at": now,
        **changes,
    }


async def send(redis: Redis, data: object, event_id: UUID | None = None, **attributes: str) -> UUID:
    """Put an event on the bus, as the contracts say that it looks."""
    event_id = event_id or uuid4()
    entry = {
        "specversion": "1.0",
        "id": str(event_id),
        "source": "acme/chat-agent",
        "type": "chat.run.completed.v1",
        "subject": f"run:{uuid4()}",
        "time": datetime.now(UTC).isoformat(),
        "datacontenttype": "application/json",
        "data": json.dumps(data),
        **attributes,
    }
    await redis.xadd("events:chat-agent", entry)
    return event_id


@pytest.fixture
def publish_event(redis: Redis) -> Callable[..., Awaitable[UUID]]:
    """Publish to this service what happened in chat-agent."""
    return lambda *what, **attributes: send(redis, *what, **attributes)


@pytest.fixture
def ran(redis: Redis, tenant: UUID) -> Callable[..., Awaitable[UUID]]:
    """Publish a run of the tenant to this service; returns the event's id."""

    async def tell_of(*usage: tuple[str, int, int], event_id: UUID | None = None, **changes: Any) -> UUID:
        return await send(redis, a_run(tenant, *usage, **changes), event_id)

    return tell_of


@pytest.fixture
def until() -> Callable[..., Awaitable[Any]]:
    return until_async


@pytest.fixture
def usage(reader: httpx.AsyncClient, tenant: UUID) -> Callable[..., Awaitable[Any]]:
    """Return a function that reads the tenant's usage."""

    async def get(**query: str) -> Any:
        answer = await reader.get(f"/api/v1/billing/tenants/{tenant}/usage", params=query)
        assert answer.status_code == 200, answer.text
        return answer.json()

    return get


@pytest.fixture
def runs(
    usage: Callable[..., Awaitable[Any]], until: Callable[..., Awaitable[Any]]
) -> Callable[[int], Awaitable[Any]]:
    """Wait until so many runs are in the ledger, and give the whole answer."""

    async def counted(number: int) -> Any:
        async def enough() -> Any:
            now = await usage()
            return now if now["totals"]["runs"] >= number else None

        return await until(enough)

    return counted


@pytest.fixture(scope="module")
def stripe_server() -> Iterator[tuple[StripeApi, str]]:
    api = StripeApi()
    with serving(api) as url:
        yield api, url


@pytest.fixture
def api(stripe_server):
    api, _ = stripe_server
    api.__init__()
    return api


@pytest.fixture
async def database(settings):
    database = Database(settings.database_url, name="test")
    yield database
    await database.close()


@pytest.fixture
def execute(database):
    async def execute(statement, **values):
        async with database.begin() as db:
            await db.execute(text(statement), values)

    return execute


@pytest.fixture
async def customer(execute, tenant):
    """A customer that our own command has stored."""
    await execute(MAP_CUSTOMER, tenant=tenant)
    return "cus_1"


@pytest.fixture
def settled(rows, until):
    """Wait until all dispatches have one of these statuses, and return them."""

    async def wait(*statuses, number=1):
        async def check():
            dispatches = await rows(DISPATCHES)
            return (
                dispatches
                if len(dispatches) >= number and {row.status for row in dispatches} <= set(statuses)
                else None
            )

        return await until(check)

    return wait


@pytest.fixture
def hurry(app, execute, monkeypatch):
    """Advance the time to the next attempt, which does not come by itself while a test stands still."""
    monkeypatch.setattr(retries, "SHORT_PAUSES", (3600.0,) * len(retries.SHORT_PAUSES))
    monkeypatch.setattr(retries, "FIRST_PAUSE", 3600.0)

    async def hurry():
        await execute(
            "update stripe_dispatches set next_attempt_at = now() where status in ('failed', 'unmapped')"
        )
        app.state.resources.database.wakeup("stripe_dispatches").set()

    return hurry
