"""Nothing of an erased person, end user or tenant stays in any table, also not in one that comes later."""

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from conversation import end_users, erasure
from conversation.erasure import HANDLERS
from conversation.models import Base
from servicekit.events.outbox import ReceivedEvent
from servicekit.retention import RetentionWorker
from sqlalchemy import insert
from testkit.owned_rows import owned_tables, row_values, statement_for

from .test_erasure import user_deleted

SECRET = "my canary is called Wilhelmine"
# Known by their ids, and no content.
IDS_ONLY = {"leavers", "tenants"}
TABLES = [table for table in owned_tables(Base.metadata) if table.name not in IDS_ONLY]
# How much an owner stores: by triggers.
COUNTED = {"usage"}


@pytest.fixture
def tenant():
    return uuid4()


@pytest.fixture
def database(app):
    return app.state.resources.database


@pytest.fixture
def fill(database, tenant):
    async def insert_rows(user):
        tables = [table for table in TABLES if table.name not in COUNTED]
        async with database.begin() as session:
            for table, values in row_values(tables, tenant, user, SECRET, {}).items():
                await session.execute(insert(table).values(**values))

    return insert_rows


@pytest.fixture
def erase(database):
    async def handle(event):
        async with database.begin() as session:
            await HANDLERS[event.type](session, event)
        rules = [*erasure.retention_rules(), end_users.retention_rule()]
        await RetentionWorker(database, rules=rules).step()

    return handle


@pytest.fixture
def columns_with(database):
    async def columns_with(text):
        async with database.begin() as session:
            connection = await session.connection()
            rows = await connection.exec_driver_sql(statement_for(TABLES), (f"%{text}%",))
            return {row.name for row in rows}

    return columns_with


async def test_of_a_deleted_person_nothing_stays(fill, erase, columns_with):
    ann, bob = f"user:{uuid4()}", f"user:{uuid4()}"
    await fill(ann)
    assert await columns_with(ann) >= {
        f"{table.name}.user_id" for table in TABLES if "user_id" in table.columns
    }
    await fill(bob)
    await erase(user_deleted(ann))
    assert await columns_with(ann) == set()
    assert "conversations.user_id" in await columns_with(bob)


async def test_of_a_deleted_tenant_nothing_stays(fill, erase, columns_with, tenant):
    await fill(f"user:{uuid4()}")
    assert await columns_with(SECRET)
    assert "conversations.tenant_id" in await columns_with(str(tenant))
    purge_after = datetime.now(UTC) - timedelta(seconds=1)
    event = ReceivedEvent(
        id=uuid4(),
        type="auth.tenant.deleted.v1",
        source="acme/auth",
        subject="-",
        time=datetime.now(UTC),
        data={"tenant_id": str(tenant), "version": 1, "purge_after": purge_after.isoformat()},
    )
    await erase(event)
    assert await columns_with(SECRET) == set()
    assert await columns_with(str(tenant)) == set()


async def test_of_an_erased_end_user_nothing_stays(fill, columns_with, service, tenant):
    end_user = "service:sa.shop/ann"
    await fill(end_user)
    agent = service(tenant, end_user)
    now = datetime.now(UTC).isoformat()
    answer = await agent.delete("/internal/v1/conversations", params={"erased_before": now})
    assert answer.status_code == 200, answer.text
    assert await columns_with(SECRET) == set()
    assert await columns_with("sa.shop") == set()
