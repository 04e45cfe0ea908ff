"""Rows of the audit log that other services record, by events of their streams."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from auth.worker import HANDLERS, SOURCES, ExpiryWorker
from redis.asyncio import Redis
from servicekit.events.dead_letters import list_dead_letters
from servicekit.events.outbox import ReceivedEvent
from testkit.eventually import until_async
from testkit.impatient_consumer import impatient_consumer

TYPE = "billing.audit.recorded.v1"
LOG = "/api/v1/auth/audit"
ACTION = "billing_budget_created"


@pytest.fixture
async def redis(redis_url):
    async with Redis.from_url(redis_url) as connected:
        yield connected


def recorded(bundle: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """Make the data of an event."""
    return {
        "tenant_id": bundle["tenant_id"],
        "action": ACTION,
        "actor": bundle["user_id"],
        "session_id": bundle["session_id"],
        "request_id": "a-request-of-billing",
        "detail": {"unit": "tokens", "limit": "1000"},
        **changes,
    }


@pytest.fixture
def publish(redis):
    """Publish an event as billing-webhook does."""

    async def add(data: Any, event_id: UUID | None = None, time: datetime | None = None) -> UUID:
        event_id = event_id or uuid4()
        entry = {
            "specversion": "1.0",
            "id": str(event_id),
            "source": "acme/billing-webhook",
            "type": TYPE,
            "subject": "tenant:-",
            "time": (time or datetime.now(UTC)).isoformat(),
            "data": json.dumps(data),
        }
        await redis.xadd("events:billing-webhook", entry)
        return event_id

    return add


@pytest.fixture
async def consuming(auth):
    """Consume events while the test runs, with few tries for each."""
    # What is built with it and is not auth fetches keys; of the consumer nobody asks for any.
    settings = auth.settings.model_copy(update={"auth_jwks_url": "http://127.0.0.1:1/jwks.json"})
    async with impatient_consumer("auth", settings, SOURCES, HANDLERS):
        yield auth


async def read(auth, bundle, path=LOG, **params):
    headers = {"Authorization": f"Bearer {bundle['access_token']}"}
    answer = await auth.public.get(path, params=params, headers=headers)
    assert answer.status_code == 200, answer.text
    return answer.json()["items"]


async def until_stored(auth, number):
    async def are_stored():
        return len(await auth.audited(ACTION)) >= number

    assert await until_async(are_stored)


async def test_what_another_service_records_is_in_the_log_of_that_tenant_alone(start, publish):
    auth = await start(run_workers=True)
    anns, bobs = await auth.somebody(), await auth.somebody("bob@example.com")
    time = datetime.now(UTC) - timedelta(minutes=5)
    event_id = await publish(recorded(anns), time=time)
    await until_stored(auth, 1)
    [row] = await read(auth, anns, action=ACTION)
    assert datetime.fromisoformat(row.pop("happened_at")) == time
    assert row == {
        "id": str(event_id),
        "action": ACTION,
        "actor": anns["user_id"],
        "subject": anns["user_id"],
        "session_id": anns["session_id"],
        "origin": None,
        "request_id": "a-request-of-billing",
        "detail": {"unit": "tokens", "limit": "1000"},
    }
    assert ACTION in {event["action"] for event in await read(auth, anns, "/api/v1/auth/me/audit")}
    assert ACTION not in {event["action"] for event in await read(auth, bobs)}
    assert ACTION not in {event["action"] for event in await read(auth, bobs, "/api/v1/auth/me/audit")}


async def test_an_event_that_comes_again_adds_no_row(consuming, publish):
    anns = await consuming.somebody()
    first = await publish(recorded(anns))
    await publish(recorded(anns), first)
    await publish(recorded(anns))
    await until_stored(consuming, 2)
    assert len(await consuming.audited(ACTION)) == 2


async def test_an_event_that_the_inbox_has_forgotten_adds_no_row(auth):
    anns = await auth.somebody()
    received = ReceivedEvent(
        id=uuid4(),
        type=TYPE,
        source="acme/billing-webhook",
        subject="tenant:-",
        time=datetime.now(UTC),
        data=recorded(anns),
    )
    for _ in range(2):
        async with auth.app.state.resources.database.begin() as db:
            await HANDLERS[TYPE](db, received)
    assert len(await auth.audited(ACTION)) == 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"action": "authn_login_success"},
        {"action": "billing_" + "x" * 60},
        {"actor": "Ann"},
        {"session_id": "not a session"},
        {"tenant_id": None},
        {"detail": "a text"},
        {"detail": {str(number): number for number in range(33)}},
    ],
    ids=["another-service's-action", "action", "actor", "session", "tenant", "detail", "details"],
)
async def test_what_is_malformed_is_a_dead_letter_and_stops_nothing(wrong, consuming, publish, redis):
    anns = await consuming.somebody()
    before = len(await consuming.audited("authn_login_success"))
    bad = await publish(recorded(anns, **wrong))
    await publish(recorded(anns))
    await until_stored(consuming, 1)

    async def is_dead():
        return await list_dead_letters(redis, "auth")

    [letter] = await until_async(is_dead)
    assert letter.fields[b"id"].decode() == str(bad)
    assert letter.reason.startswith("ValidationError")
    assert len(await consuming.audited(ACTION)) == 1
    assert len(await consuming.audited("authn_login_success")) == before


async def test_an_action_that_is_newer_than_this_service_is_stored(consuming, publish):
    anns = await consuming.somebody()
    nobody = {"actor": None, "session_id": None, "request_id": None}
    await publish(recorded(anns, action="billing_something_new", **nobody))

    async def is_stored():
        return await consuming.audited("billing_something_new")

    assert await until_async(is_stored)
    [row] = await read(consuming, anns, action="billing_something_new")
    assert (row["actor"], row["subject"], row["request_id"]) == (None, None, None)


async def test_rows_keep_the_id_alone_of_who_has_left_and_are_deleted_in_time(consuming, publish):
    anns = await consuming.somebody()
    await publish(recorded(anns))
    await publish(recorded(anns), time=datetime.now(UTC) - timedelta(days=31))
    await until_stored(consuming, 2)
    answer = await consuming.ask("POST", "account/delete", anns, {"password": consuming.password})
    assert answer.status_code == 204, answer.text
    # What was under way is stored as what came before.
    await publish(recorded(anns))
    await until_stored(consuming, 3)
    assert {row["actor"] for row in await consuming.audited(ACTION)} == {anns["user_id"]}
    assert "ann@example.com" not in str([dict(row) for row in await consuming.audited(ACTION)])
    await ExpiryWorker(consuming.app.state.resources.database, timedelta(days=30)).step()
    assert len(await consuming.audited(ACTION)) == 2
