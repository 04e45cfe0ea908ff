"""What is kept, for how long, and that nothing is removed that somebody may still need."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from servicekit.events.outbox import inbox, outbox
from servicekit.idempotency import idempotency_keys
from servicekit.retention import RetentionWorker
from servicekit.workers.supervisor import running_all
from sqlalchemy import Column, MetaData, Table, Text, func, insert, select


def days_ago(days: float) -> datetime:
    return datetime.now(UTC) - timedelta(days=days)


def sent(days: float | None) -> dict[str, Any]:
    event = {"id": uuid4(), "type": "t", "subject": "s", "data": {}, "time": days_ago(99)}
    return {**event, "published_at": None if days is None else days_ago(days)}


async def put(bus: Any, table: Table, *rows: dict[str, Any]) -> None:
    async with bus.database.begin() as session:
        await session.execute(insert(table), rows)


async def count(bus: Any, table: Table) -> int:
    async with bus.database.begin() as session:
        return await session.scalar(select(func.count()).select_from(table)) or 0


async def clean(bus: Any, **options: Any) -> None:
    await RetentionWorker(bus.database, **options).step()


async def test_events_are_stored_for_three_days_after_they_were_sent(bus: Any) -> None:
    await put(bus, outbox, sent(3.1), sent(2.9), sent(None))
    await clean(bus)
    assert await count(bus, outbox) == 2


async def test_an_event_that_was_never_sent_is_never_removed(bus: Any) -> None:
    await put(bus, outbox, sent(None))
    await clean(bus, outbox_retention=timedelta())
    assert await count(bus, outbox) == 1


async def test_handled_events_are_remembered_for_thirty_days(bus: Any) -> None:
    await put(
        bus,
        inbox,
        {"event_id": uuid4(), "handled_at": days_ago(30.1)},
        {"event_id": uuid4(), "handled_at": days_ago(29.9)},
    )
    await clean(bus)
    assert await count(bus, inbox) == 1


async def test_stored_responses_are_deleted_when_they_expire(bus: Any) -> None:
    answer = {"fingerprint": b"", "status": 200, "headers": {}, "body": b""}
    await put(
        bus,
        idempotency_keys,
        {**answer, "scope": b"1", "expires_at": days_ago(0.01)},
        {**answer, "scope": b"2", "expires_at": days_ago(-0.01)},
    )
    await clean(bus)
    assert await count(bus, idempotency_keys) == 1


async def test_much_is_removed_in_small_batches(bus: Any) -> None:
    await put(bus, outbox, *[sent(4) for _ in range(25)])
    await clean(bus, batch=10)
    assert await count(bus, outbox) == 0


async def test_replicas_clean_at_the_same_time_and_again_and_again(bus: Any, until: Any) -> None:
    async def is_clean() -> bool:
        return await count(bus, outbox) == 0

    await put(bus, outbox, *[sent(4) for _ in range(50)])
    async with running_all([RetentionWorker(bus.database, batch=3, every=0.01) for _ in range(3)]):
        await until(is_clean)
        await put(bus, outbox, sent(4))
        await until(is_clean)


async def test_rows_that_share_a_part_of_their_key_with_expired_ones_stay(bus: Any) -> None:
    parts = Table(
        "parts", MetaData(), Column("whole", Text, primary_key=True), Column("name", Text, primary_key=True)
    )
    async with bus.database.engine.begin() as connection:
        await connection.exec_driver_sql(
            "create table parts (whole text, name text, primary key (whole, name))"
        )
    await put(bus, parts, {"whole": "1", "name": "old"}, {"whole": "1", "name": "new"})
    await clean(bus, rules=[(parts, parts.c.name == "old")])
    async with bus.database.begin() as session:
        names = (await session.scalars(select(parts.c.name))).all()
    async with bus.database.engine.begin() as connection:
        await connection.exec_driver_sql("drop table parts")
    assert names == ["new"]


async def test_a_service_need_not_have_every_table(bus: Any) -> None:
    await put(bus, outbox, sent(4))
    async with bus.database.engine.begin() as connection:
        await connection.exec_driver_sql("drop table inbox, idempotency_keys")
    await clean(bus)
    assert await count(bus, outbox) == 0


async def test_the_inbox_must_outlast_the_outbox(bus: Any) -> None:
    with pytest.raises(ValueError, match="longer"):
        RetentionWorker(bus.database, outbox_retention=timedelta(days=30))
