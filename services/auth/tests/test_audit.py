import asyncpg
import pytest


@pytest.mark.parametrize("change", ["update audit_events set action = 'nothing'", "delete from audit_events"])
async def test_what_was_written_down_stays_as_it_is(auth, change):
    insert = "insert into audit_events (id, action, detail) values (gen_random_uuid(), 'something', '{}')"
    await auth.database.execute(insert)
    with pytest.raises(asyncpg.RaiseError, match="never changed"):
        await auth.database.execute(change)
    assert len(await auth.audited("something")) == 1
