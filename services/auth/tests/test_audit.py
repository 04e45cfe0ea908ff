import json
import logging

import asyncpg
import pytest


def audit_lines(capsys):
    """Return what the log says of the audit log."""
    for handler in logging.getLogger().handlers:
        handler.flush()
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    return [line["fields"] for line in lines if line["event"] == "audit"]


async def test_what_is_written_down_is_in_the_log_too_for_whoever_keeps_that_elsewhere(start, capsys):
    auth = await start(logging_sink="stdout")
    bundle = await auth.somebody()
    await auth.sign_in(password="not the one that was set")
    lines = audit_lines(capsys)
    rows = {str(row["id"]): row for row in await auth.database.fetch("select * from audit_events")}
    assert {line["audit_id"] for line in lines} == rows.keys()
    assert len(lines) == len(rows) >= 3
    for line in lines:
        row = rows[line["audit_id"]]
        assert line["detail"] == json.loads(row["detail"])
        for name in ("action", "actor", "subject", "tenant_id", "session_id"):
            assert line.get(name) == (row[name] and str(row[name])), name
    assert bundle["user_id"] in {line.get("actor") for line in lines}


async def test_what_is_undone_is_in_no_log(start, capsys):
    auth = await start(logging_sink="stdout")
    bundle = await auth.somebody()
    audit_lines(capsys)
    await auth.database.execute(
        "create function broken() returns trigger language plpgsql as $$ begin raise 'no'; end $$;"
        "create trigger broken before insert on audit_events for each row"
        " when (new.action = 'tenant_created') execute function broken()"
    )
    try:
        answer = await auth.ask("POST", "tenants", bundle, {"name": "Another"})
    finally:
        await auth.database.execute("drop trigger broken on audit_events; drop function broken")
    assert answer.status_code == 500
    assert [line["action"] for line in audit_lines(capsys)] == []


@pytest.mark.parametrize("change", ["update audit_events set action = 'nothing'", "delete from audit_events"])
async def test_what_was_written_down_stays_as_it_is(auth, change):
    insert = "insert into audit_events (id, action, detail) values (gen_random_uuid(), 'something', '{}')"
    await auth.database.execute(insert)
    with pytest.raises(asyncpg.RaiseError, match="never changed"):
        await auth.database.execute(change)
    assert len(await auth.audited("something")) == 1
