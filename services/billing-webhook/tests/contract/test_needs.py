"""What billing-webhook needs of others: their events, heard by the real handlers, and so written down."""

from datetime import UTC, datetime
from uuid import uuid4

import pytest
from billing_webhook.models import Budget, Subscription, UsageEntry
from billing_webhook.worker import HANDLERS
from pact import match
from servicekit import erasure
from servicekit.database import Database
from servicekit.erasure import tenants
from sqlalchemy import select
from testkit.pacts import TENANT, USER, consumer_pact

END_USER = f"service:ak.{'0a' * 16}/alice"
RUN = "4a000000-0000-4000-8000-000000000001"
CONVERSATION = "c0000000-0000-4000-8000-000000000001"
OVER = {
    "run_id": match.uuid(RUN),
    "conversation_id": match.uuid(CONVERSATION),
    "tenant_id": match.uuid(str(TENANT)),
    "user_id": match.regex(USER, regex=r"^user:[0-9a-f-]{36}$"),
    "agent": match.like("code_assistant"),
    "initial_agent": match.like("triage"),
    "messages": match.int(1),
    "usage": match.each_like(
        {
            "model": match.like("gpt-5.1"),
            "requests": match.int(2),
            "input_tokens": match.int(120),
            "output_tokens": match.int(30),
            "cached_tokens": match.int(20),
            "reasoning_tokens": match.int(10),
        },
        min=1,
    ),
    "estimated": match.bool(False),
    "started_at": match.regex("2026-01-02T03:03:05Z", regex=r"^\d{4}-\d\d-\d\dT[\d:.]+(Z|\+00:00)$"),
    "completed_at": match.regex("2026-01-02T03:04:05Z", regex=r"^\d{4}-\d\d-\d\dT[\d:.]+(Z|\+00:00)$"),
}

VERSION = {"tenant_id": match.uuid(str(TENANT)), "version": match.int(2)}
MOMENT = match.regex("2126-01-02T03:04:05Z", regex=r"^\d{4}-\d\d-\d\dT[\d:.]+(Z|\+00:00)$")
LEFT = {
    "user_id": match.regex(USER, regex=r"^user:[0-9a-f-]{36}$"),
    "tenant_ids": match.each_like(match.uuid(str(TENANT)), min=1),
}


@pytest.fixture
async def database(settings):
    database = Database(settings.database_url, name="test")
    yield database
    await database.close()


async def test_enters_what_a_run_used(database):
    with consumer_pact("billing-webhook", "chat-agent") as pact:
        received = pact.event("a run is over", "chat.run.completed.v1", OVER, states="a run is over")
        async with database.begin() as db:
            await HANDLERS[received.type](db, received)
    async with database.begin() as db:
        [entry] = await db.scalars(select(UsageEntry))
    assert (str(entry.run_id), entry.tenant_id, entry.event_id) == (RUN, TENANT, received.id)
    assert (entry.model, entry.requests, entry.input_tokens, entry.cached_tokens) == ("gpt-5.1", 2, 120, 20)
    assert entry.occurred_at == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


async def test_makes_the_usage_of_an_erased_end_user_anonymous(database):
    data = {
        "tenant_id": match.uuid(str(TENANT)),
        "user_id": match.regex(END_USER, regex="^service:[A-Za-z0-9._-]+/[A-Za-z0-9_.~@+:|=%-]+$"),
    }
    async with database.begin() as db:
        budget = {"id": uuid4(), "tenant_id": TENANT, "scope": "user", "scope_id": END_USER, "unit": "tokens"}
        db.add(Budget(**budget, limit=1, interval="month", kind="hard"))
    with consumer_pact("billing-webhook", "chat-agent") as pact:
        received = pact.event(
            "an end user was erased", "chat.end_user.erased.v1", data, states="an end user was erased"
        )
        async with database.begin() as db:
            await HANDLERS[received.type](db, received)
    async with database.begin() as db:
        assert await db.scalar(select(Budget.scope_id).where(Budget.scope_id == END_USER)) is None


async def test_gives_a_new_tenant_the_free_plan(database):
    with consumer_pact("billing-webhook", "auth") as pact:
        data = {"tenant_id": match.uuid(str(TENANT))}
        received = pact.event(
            "a tenant was created", "auth.tenant.created.v1", data, states="a tenant was created"
        )
        async with database.begin() as db:
            await HANDLERS[received.type](db, received)
        async with database.begin() as db:
            assert await db.scalar(select(Subscription.plan_code)) == "free"


@pytest.mark.parametrize(
    ("type_", "what", "given", "data"),
    [
        ("auth.user.deleted.v1", "somebody has left", "somebody has left for good", LEFT),
        (
            "auth.tenant.deleted.v1",
            "a tenant was deleted",
            "a tenant was deleted",
            {**VERSION, "purge_after": MOMENT},
        ),
        ("auth.tenant.suspended.v1", "a tenant was suspended", "a tenant was suspended", VERSION),
        ("auth.tenant.reactivated.v1", "a tenant was reactivated", "a tenant was reactivated", VERSION),
    ],
)
async def test_hears_who_has_left_and_what_becomes_of_a_tenant(database, type_, what, given, data):
    with consumer_pact("billing-webhook", "auth") as pact:
        received = pact.event(what, type_, data, states=given)
        async with database.begin() as db:
            await HANDLERS[type_](db, received)
        async with database.begin() as db:
            assert await db.scalar(select(tenants.c.id)) == TENANT
            left = await db.scalar(erasure.is_deleted_user(USER))
            assert (left is not None) == (type_ == "auth.user.deleted.v1")
