"""Temporary conversations: in no list, no search and no count, and deleted when their time is over."""

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from conversation.erasure import retention_rules
from servicekit.database import Database
from servicekit.retention import RetentionWorker
from sqlalchemy import text

LIST, SEARCH = "/api/v1/conversations", "/api/v1/conversations/search?query=plan"


@pytest.fixture
def tenant_id():
    return uuid4()


@pytest.fixture
def begin_turn(service, tenant_id):
    """Return a function that stores the first item of a run, in a temporary conversation if it expires."""

    async def begin(subject, conversation_id, **options):
        run_id = uuid4()
        items = [{"id": f"{run_id}-0001", "data": {"role": "user", "content": "my secret plan"}}]
        turn = {"attempt": 1, "items": items, **options}
        path = f"/internal/v1/conversations/{conversation_id}/turns/{run_id}"
        answer = await service(tenant_id, subject).put(path, json=turn)
        assert answer.status_code == 200, answer.text
        return path

    return begin


def in_hours(hours: int) -> str:
    return (datetime.now(UTC) + timedelta(hours=hours)).isoformat()


async def count_of(app, tenant_id):
    async with app.state.resources.database.begin() as db:
        query = text("select conversations, bytes from usage where tenant_id = :tenant_id")
        return (await db.execute(query, {"tenant_id": tenant_id})).one_or_none()


async def test_is_in_no_list_and_no_search(app, person, tenant_id, begin_turn):
    subject, conversation_id = f"user:{uuid4()}", uuid4()
    await begin_turn(subject, conversation_id, expires_at=in_hours(1))
    ann = person(tenant_id, subject)
    for path in (LIST, SEARCH):
        assert (await ann.get(path)).json()["items"] == []
    assert (await ann.get(f"{LIST}/{conversation_id}")).json()["message_count"] == 1
    conversations, size = await count_of(app, tenant_id)
    assert conversations == 0
    assert size > 0
    assert (await ann.delete(f"{LIST}/{conversation_id}")).status_code == 204
    assert await count_of(app, tenant_id) is None


async def test_stays_once_it_is_continued(app, person, tenant_id, begin_turn):
    subject, conversation_id = f"user:{uuid4()}", uuid4()
    await begin_turn(subject, conversation_id, expires_at=in_hours(1))
    await begin_turn(subject, conversation_id, expires_at=in_hours(1))
    assert (await count_of(app, tenant_id))[0] == 0
    await begin_turn(subject, conversation_id)
    assert (await count_of(app, tenant_id))[0] == 1
    assert len((await person(tenant_id, subject).get(LIST)).json()["items"]) == 1
    # A lasting one is not made temporary.
    await begin_turn(subject, conversation_id, expires_at=in_hours(1))
    assert len((await person(tenant_id, subject).get(SEARCH)).json()["items"]) == 4


async def test_is_deleted_when_its_time_is_over(settings, person, tenant_id, begin_turn):
    subject, over, later, lasting = f"user:{uuid4()}", uuid4(), uuid4(), uuid4()
    await begin_turn(subject, over, expires_at=in_hours(-1))
    await begin_turn(subject, later, expires_at=in_hours(1))
    await begin_turn(subject, lasting)
    database = Database(settings.database_url, name="test")
    await RetentionWorker(database, rules=retention_rules()).step()
    await database.close()
    ann = person(tenant_id, subject)
    statuses = [(await ann.get(f"{LIST}/{one}")).status_code for one in (over, later, lasting)]
    assert statuses == [404, 200, 200]


async def test_a_service_deletes_a_conversation(service, tenant_id, begin_turn):
    subject, conversation_id = f"user:{uuid4()}", uuid4()
    await begin_turn(subject, conversation_id, expires_at=in_hours(1))
    client, path = service(tenant_id, subject), f"/internal/v1/conversations/{conversation_id}"
    assert [(await client.delete(path)).status_code for _ in range(2)] == [204, 404]
