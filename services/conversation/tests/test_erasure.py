"""What becomes of somebody's conversations when auth tells that they have left for good."""

import asyncio
from datetime import UTC, datetime
from uuid import uuid4

import pytest
from conversation import erasure
from conversation.erasure import HANDLERS
from conversation.models import Conversation, Item
from conversation.worker import workers
from servicekit.events.outbox import ReceivedEvent
from servicekit.retention import RetentionWorker
from sqlalchemy import func, select

TENANT = uuid4()


def user_deleted(user_id, *tenant_ids):
    return ReceivedEvent(
        id=uuid4(),
        type="auth.user.deleted.v1",
        source="acme/auth",
        subject=user_id,
        time=datetime.now(UTC),
        data={"user_id": user_id, "tenant_ids": [str(tenant_id) for tenant_id in tenant_ids]},
    )


@pytest.fixture
def database(app):
    return app.state.resources.database


@pytest.fixture
def consume(database):
    async def handle(event):
        async with database.begin() as db:
            await HANDLERS[event.type](db, event)

    return handle


@pytest.fixture
def tidy(app):
    async def step():
        [housekeeping] = [one for one in workers(app.state.resources) if isinstance(one, RetentionWorker)]
        await housekeeping.step()

    return step


async def count(database, table):
    async with database.begin() as db:
        return await db.scalar(select(func.count()).select_from(table))


async def count_conversations(who):
    return len((await who.get("/api/v1/conversations")).json()["items"])


async def test_all_items_of_a_deleted_user_are_erased_in_every_tenant(database, person, begin, consume):
    user = f"user:{uuid4()}"
    ann, ann_elsewhere, bob = person(TENANT, user), person(uuid4(), user), person(TENANT)
    for who in (ann, ann, ann_elsewhere, bob):
        await begin(who, "Hello", "and more")
    await consume(user_deleted(user))
    assert [await count_conversations(who) for who in (ann, ann_elsewhere, bob)] == [0, 0, 1]
    assert await count(database, Item) == 2


async def test_an_event_that_comes_again_or_of_somebody_unknown_changes_nothing(person, begin, consume):
    user = f"user:{uuid4()}"
    ann, bob = person(TENANT, user), person(TENANT)
    await begin(ann, "Hello")
    await begin(bob, "Hello")
    event = user_deleted(user)
    for one in (event, event, user_deleted(f"user:{uuid4()}")):
        await consume(one)
    assert [await count_conversations(ann), await count_conversations(bob)] == [0, 1]


async def test_what_is_more_than_goes_at_once_goes_soon(person, begin, consume, tidy, monkeypatch):
    monkeypatch.setattr(erasure, "BATCH_SIZE", 2)
    user = f"user:{uuid4()}"
    ann = person(TENANT, user)
    for _ in range(5):
        await begin(ann, "Hello")
    await consume(user_deleted(user))
    assert await count_conversations(ann) == 3
    await tidy()
    assert await count_conversations(ann) == 0


async def test_tenants_that_went_with_somebody_are_forgotten_for_ever(person, begin, consume, tidy):
    alone, user = uuid4(), f"user:{uuid4()}"
    another = person(alone)
    await begin(another, "Hello")
    await consume(user_deleted(user, alone))
    # Told before, and heard after.
    old = user_deleted(user)
    reactivated = old.model_copy(
        update={"type": "auth.tenant.reactivated.v1", "data": {"tenant_id": str(alone), "version": 9}}
    )
    await consume(reactivated)
    await tidy()
    assert await count_conversations(another) == 0


async def test_a_late_turn_of_who_has_left_finds_no_conversation_and_makes_none(database, service, consume):
    user, conversation_id, run_id = f"user:{uuid4()}", uuid4(), uuid4()
    agent = service(TENANT, user)
    turn = f"/internal/v1/conversations/{conversation_id}/turns/{run_id}"
    items = [{"id": f"{run_id}-1", "data": {"role": "user", "content": "Hello"}}]
    assert (await agent.put(turn, json={"attempt": 1, "items": items, "last": 5})).status_code == 200
    await consume(user_deleted(user))
    late = [
        await agent.put(turn, json={"attempt": 1, "items": items, "last": 5}),
        await agent.put(
            f"/internal/v1/conversations/{uuid4()}/turns/{run_id}", json={"attempt": 1, "items": items}
        ),
        await agent.post(f"{turn}/items", json={"attempt": 1, "items": items}),
        await agent.put(f"/internal/v1/conversations/{uuid4()}", json={}),
        await agent.delete(turn, params={"attempt": 1}),
    ]
    assert [(answer.status_code, answer.json()["code"]) for answer in late] == [
        (404, "conversation_not_found")
    ] * len(late)
    assert await count(database, Conversation) == 0


async def test_what_is_written_at_that_very_moment_is_gone_soon(
    database, person, service, begin, consume, tidy
):
    user = f"user:{uuid4()}"
    ann, agent = person(TENANT, user), service(TENANT, user)

    async def turn():
        run_id = uuid4()
        items = [{"id": f"{run_id}-1", "data": {"role": "user", "content": "Hello"}}]
        path = f"/internal/v1/conversations/{uuid4()}/turns/{run_id}"
        await agent.put(path, json={"attempt": 1, "items": items})

    await asyncio.gather(
        *(turn() for _ in range(10)), consume(user_deleted(user)), *(turn() for _ in range(10))
    )
    # Their token lives for some seconds more.
    await begin(ann, "Hello")
    await tidy()
    assert (await count(database, Conversation), await count(database, Item)) == (0, 0)
