"""From the outbox into the stream, and out of the stream only when every reader is done."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from prometheus_client import REGISTRY
from servicekit.events.consumer_group import trim
from servicekit.events.outbox import ReceivedEvent, outbox
from servicekit.events.relay import republish
from servicekit.workers.supervisor import running_all
from sqlalchemy import text, update

# A transaction that has changed the outbox fails when it commits, for as long as this trigger is there.
FAILING_COMMITS = (
    "create function refuse() returns trigger language plpgsql as $$ begin raise 'no commit today'; end $$",
    "create constraint trigger refusal after update on outbox deferrable initially deferred "
    "for each row execute function refuse()",
)


def metric(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0


async def read_all(bus: Any, group: str, *, acknowledge: bool = True) -> list[int]:
    """Read a stream as another service would, with Redis' own commands."""
    answer = await bus.redis.xreadgroup(group, f"{group}@elsewhere:1", {bus.stream: ">"})
    entries = answer[0][1] if answer else []
    if acknowledge and entries:
        await bus.redis.xack(bus.stream, group, *[entry_id for entry_id, _ in entries])
    return [ReceivedEvent.decode(fields).data["number"] for _, fields in entries]  # type: ignore[misc]


async def execute(bus: Any, *statements: str) -> None:
    async with bus.database.engine.begin() as connection:
        for statement in statements:
            await connection.exec_driver_sql(statement)


async def test_committed_events_are_sent_once_and_in_order(bus: Any, until: Any) -> None:
    await bus.publish(*range(250))
    async with running_all([bus.relay()]):
        await until(bus.all_sent)
        await bus.publish(250, 251)
        await until(bus.all_sent)
    assert await bus.sent() == list(range(252))


async def test_an_event_is_sent_when_its_transaction_commits_and_holds_up_no_other(
    bus: Any, until: Any
) -> None:
    async with running_all([bus.relay()]):
        async with bus.database.begin() as slow:
            await slow.execute(outbox.insert().values(**row(1)))
            await bus.publish(2)
            await until(bus.all_sent)
            assert await bus.sent() == [2]
        await until(bus.all_sent)
    assert await bus.sent() == [2, 1]


def row(number: int) -> dict[str, Any]:
    return {
        "id": f"00000000-0000-4000-8000-{number:012}",
        "type": "auth.thing.counted.v1",
        "subject": "thing",
        "time": datetime.now(UTC),
        "data": {"number": number},
    }


async def test_relays_of_several_replicas_send_each_event_once(bus: Any, until: Any) -> None:
    async with running_all([bus.relay(batch=7), bus.relay(batch=7), bus.relay(batch=7)]):
        for start in range(0, 200, 20):
            await bus.publish(*range(start, start + 20))
        await until(bus.all_sent)
    assert Counter(await bus.sent()) == Counter(range(200))


async def test_a_reader_that_comes_later_misses_nothing(bus: Any, until: Any) -> None:
    await bus.publish(1, 2)
    async with running_all([bus.relay(readers=("notification", "billing"))]):
        await until(bus.all_sent)
    assert await read_all(bus, "billing") == [1, 2]


async def test_a_batch_that_was_sent_but_not_committed_is_sent_again(bus: Any, until: Any) -> None:
    await bus.publish(1, 2)
    await execute(bus, *FAILING_COMMITS)
    relay = bus.relay()
    async with running_all([relay, bus.consumer()]):
        await until(lambda: repeated_without_effect(bus))
        assert not relay.healthy()
        await execute(bus, "drop trigger refusal on outbox", "drop function refuse")
        await until(bus.all_sent)
        await until(bus.delivered_all)
    assert sorted(await bus.effects()) == [1, 2]


async def repeated_without_effect(bus: Any) -> bool:
    added = await bus.redis.exists(bus.stream) and (await bus.redis.xinfo_stream(bus.stream))["entries-added"]
    return added >= 4 and await bus.settled(1, 2)


async def test_trimming_waits_for_the_slowest_group(bus: Any, until: Any) -> None:
    await bus.publish(*range(20))
    async with running_all([bus.relay(readers=("notification", "billing"))]):
        await until(bus.all_sent)
        assert len(await read_all(bus, "notification")) == 20
        await bus.publish(20)
        await until(bus.all_sent)
        assert await trim(bus.redis, bus.stream) == 0
        assert await read_all(bus, "billing") == list(range(21))
        # Its last entry a group has read stays: it marks the place.
        await until(lambda: stream_is(bus, 2))
    assert await read_all(bus, "notification") == [20]


async def stream_is(bus: Any, length: int) -> bool:
    return await bus.redis.xlen(bus.stream) == length


async def test_trimming_never_takes_what_is_pending(bus: Any, until: Any) -> None:
    await bus.publish(*range(5))
    async with running_all([bus.relay()]):
        await until(bus.all_sent)
        await read_all(bus, "notification", acknowledge=False)
        [first, second, third, *_] = [entry_id for entry_id, _ in await bus.redis.xrange(bus.stream)]
        await bus.redis.xack(bus.stream, "notification", first, second)
        await until(lambda: stream_is(bus, 3))
        await trim(bus.redis, bus.stream)
        assert (await bus.redis.xrange(bus.stream))[0][0] == third


async def test_nothing_is_trimmed_before_a_known_reader_has_its_group(bus: Any, until: Any) -> None:
    await bus.publish(1, 2, 3)
    async with running_all([bus.relay(readers=("notification", "billing"))]):
        await until(bus.all_sent)
        await bus.redis.xgroup_destroy(bus.stream, "billing")
        await read_all(bus, "notification")
        await until(lambda: group_exists(bus, "billing"))
        assert await read_all(bus, "billing") == [1, 2, 3]


async def group_exists(bus: Any, name: str) -> bool:
    return name in {group["name"].decode() for group in await bus.redis.xinfo_groups(bus.stream)}


async def test_a_stream_without_groups_is_not_trimmed(bus: Any, until: Any) -> None:
    await bus.publish(1, 2)
    async with running_all([bus.relay(readers=())]):
        await until(bus.all_sent)
        assert await trim(bus.redis, bus.stream) == 0
    assert await bus.sent() == [1, 2]


async def test_an_operator_can_have_events_sent_again(bus: Any, until: Any) -> None:
    await bus.publish(1, 2, 3)
    async with running_all([bus.relay(), bus.consumer()]):
        await until(bus.all_sent)
        long_ago = update(outbox).where(outbox.c.subject == "thing:1")
        async with bus.database.begin() as session:
            await session.execute(long_ago.values(published_at=datetime.now(UTC) - timedelta(days=2)))
        before = metric("events_published_total", source="auth")
        assert await republish(bus.database, datetime.now(UTC) - timedelta(hours=1)) == 2
        await until(bus.all_sent)
        assert metric("events_published_total", source="auth") == before + 2
        assert await republish(bus.database) == 3
        await until(bus.all_sent)
        await until(bus.delivered_all)
    assert sorted(await bus.effects()) == [1, 2, 3]


@pytest.mark.parametrize("reader_notices_first", [False, True])
async def test_a_redis_that_lost_everything_gets_everything_again(
    bus: Any, until: Any, reader_notices_first: bool
) -> None:
    await bus.publish(*range(10))
    async with running_all([bus.relay()]):
        await until(bus.all_sent)
    await execute(bus, "update outbox set published_at = published_at - seq * interval '1 hour'")
    await bus.redis.flushall()
    if reader_notices_first:
        await bus.redis.xgroup_create(bus.stream, "notification", id="0", mkstream=True)
    async with running_all([bus.relay(), bus.consumer()]):
        await until(lambda: bus.settled(*range(10)))


async def test_a_loss_is_noticed_by_the_next_event(bus: Any, until: Any) -> None:
    await bus.publish(1)
    async with running_all([bus.relay(trim_every=3600)]):
        await until(bus.all_sent)
        await bus.redis.flushall()
        await bus.publish(2)
        async with running_all([bus.consumer()]):
            await until(lambda: bus.settled(1, 2))


async def test_a_loss_is_noticed_while_nothing_is_published(bus: Any, until: Any) -> None:
    await bus.publish(1)
    async with running_all([bus.relay()]):
        await until(bus.all_sent)
        await bus.redis.flushall()
        await until(lambda: bus.redis.exists(bus.stream))
        await until(bus.sent)
        async with running_all([bus.consumer()]):
            await until(lambda: bus.settled(1))


async def test_what_was_sent_just_before_a_crash_of_redis_is_sent_again(bus: Any, until: Any) -> None:
    await bus.publish(1, 2)
    async with running_all([bus.relay()]):
        await until(bus.all_sent)
    # A power loss takes the last second from an append-only file, and leaves the rest.
    await bus.redis.xtrim(bus.stream, maxlen=1)
    await bus.redis.xdel(bus.stream, (await bus.redis.xrange(bus.stream))[0][0])
    async with running_all([bus.relay(), bus.consumer()]):
        await until(lambda: bus.settled(1, 2))


async def test_the_age_of_the_oldest_waiting_event_is_known(bus: Any, until: Any) -> None:
    async with running_all([bus.relay()]):
        await until(lambda: bus.redis.exists(bus.stream))
        async with full(bus.redis):
            await bus.publish(1)
            await until(lambda: asyncio.sleep(0, metric("outbox_oldest_seconds", source="auth") > 0.05))
        await until(bus.all_sent)
        await until(lambda: asyncio.sleep(0, metric("outbox_oldest_seconds", source="auth") == 0))


@asynccontextmanager
async def full(redis: Any) -> AsyncIterator[None]:
    """Leave Redis no memory; as on a bus, it evicts nothing."""
    await redis.config_set("maxmemory", "1")
    try:
        yield
    finally:
        await redis.config_set("maxmemory", "0")


async def test_a_full_redis_is_emptied_and_loses_nothing(bus: Any, until: Any) -> None:
    await bus.publish(*range(20))
    async with running_all([bus.relay()]):
        await until(bus.all_sent)
    async with full(bus.redis):
        await bus.publish(20)
        async with running_all([bus.relay(), bus.consumer()]):
            await until(lambda: stream_is(bus, 1))
            assert await bus.unpublished()
    async with running_all([bus.relay(), bus.consumer()]):
        await until(lambda: bus.settled(*range(21)))


async def test_failures_in_a_row_do_not_send_more_and_more_again(bus: Any, until: Any) -> None:
    await bus.publish(1, 2, 3)
    async with running_all([bus.relay()]):
        await until(bus.all_sent)
    async with bus.database.begin() as session:
        for number in (1, 2, 3):
            then = datetime.now(UTC) - timedelta(minutes=number)
            one = update(outbox).where(outbox.c.subject == f"thing:{number}")
            await session.execute(one.values(published_at=then))
    relay = bus.relay()
    for _ in range(5):
        await relay.begin()
    assert await bus.unpublished() == 1


async def test_the_relay_looks_again_at_once_only_after_a_full_batch(bus: Any) -> None:
    relay = bus.relay(poll=7.0, batch=2)
    await relay.begin()
    assert await relay.step() == 7.0
    await bus.publish(1, 2, 3)
    assert [await relay.step() for _ in range(3)] == [0, 7.0, 7.0]
    assert await bus.all_sent()


async def test_a_commit_wakes_the_relay(bus: Any, until: Any) -> None:
    async with running_all([bus.relay(poll=3600.0)]):
        await bus.publish(1)
        await until(bus.all_sent)
        await bus.publish(2, 3)
        await until(bus.all_sent)


async def test_the_relay_reads_the_outbox_by_an_index(bus: Any) -> None:
    await bus.publish(*range(200))
    await execute(bus, "update outbox set published_at = now()", "analyze outbox")
    async with bus.database.begin() as session:
        query = "explain select * from outbox where published_at is null order by seq limit 100"
        plan = "\n".join(await session.scalars(text(query)))
    assert "ix_outbox_seq" in plan
