"""Every table of a person is in the copy of their data, which chat-agent makes, or has a reason."""

import json
from uuid import uuid4

from conversation.models import Base
from sqlalchemy import insert
from testkit.owned_rows import personal_tables, row_values

SECRET = "my canary is called Wilhelmine"
EXPORTED = {"conversations", "items"}
NOT_EXPORTED = {
    "usage": "counts what is exported",
    "turns": "numbers of attempts, which fence off older ones",
    "leavers": "ids of deleted accounts alone",
}


async def test_every_table_of_a_person_is_in_the_export_or_has_a_reason(app, service):
    tables = personal_tables(Base.metadata)
    assert {table.name for table in tables} == EXPORTED | NOT_EXPORTED.keys()
    tenant, ann = uuid4(), f"user:{uuid4()}"
    stored = [table for table in tables if table.name in EXPORTED]
    notes = {"conversations": {"metadata": {"note": SECRET}}}
    rows = row_values(stored, tenant, ann, SECRET, notes)
    async with app.state.resources.database.begin() as session:
        for table, values in rows.items():
            await session.execute(insert(table).values(**values))
    mine = service(tenant, ann)
    [conversation] = (await mine.get("/internal/v1/conversations")).json()["items"]
    assert conversation["metadata"] == {"note": SECRET}
    path = f"/internal/v1/conversations/{conversation['conversation_id']}/item-page"
    [item] = (await mine.get(path)).json()["items"]
    assert SECRET in json.dumps(item["data"])
    others = service(tenant, f"user:{uuid4()}")
    assert (await others.get("/internal/v1/conversations")).json()["items"] == []
    assert (await others.get(path)).status_code == 404
