"""Publishing: in the caller's transaction, as a CloudEvent."""

import contextlib
from typing import Any, ClassVar
from uuid import UUID, uuid4

import orjson
import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from servicekit.events.outbox import Event, InvalidEvent, ReceivedEvent, encode, outbox, publish
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

TENANT = UUID("22222222-2222-4222-8222-222222222222")


class Greeted(Event):
    type: ClassVar[str] = "auth.user.greeted.v1"

    name: str
    tenant: UUID | None = None


async def rows(bus: Any) -> list[Any]:
    async with bus.database.begin() as session:
        return list((await session.execute(select(outbox).order_by(outbox.c.seq))).all())


def greet(session: AsyncSession, name: str = "Ada") -> UUID:
    return publish(session, Greeted(name=name), tenant_id=TENANT, subject="user:1")


async def test_an_event_is_published_by_the_transaction_that_publishes_it(bus: Any) -> None:
    async with bus.database.begin() as session:
        event_id = greet(session)
        assert not await rows(bus)
    [row] = await rows(bus)
    assert (row.id, row.type, row.subject, row.tenant_id) == (
        event_id,
        "auth.user.greeted.v1",
        "user:1",
        TENANT,
    )
    assert row.data == {"name": "Ada", "tenant": None}
    assert row.published_at is None


async def test_an_event_of_a_transaction_that_fails_was_never_published(bus: Any) -> None:
    with contextlib.suppress(ZeroDivisionError):
        async with bus.database.begin() as session:
            greet(session)
            raise ZeroDivisionError
    assert not await rows(bus)


async def test_an_event_goes_with_the_savepoint_that_it_belongs_to(bus: Any) -> None:
    async with bus.database.begin() as session:
        greet(session, "kept")
        with contextlib.suppress(ZeroDivisionError):
            async with session.begin_nested():
                greet(session, "undone")
                raise ZeroDivisionError
        greet(session, "also kept")
    assert [row.data["name"] for row in await rows(bus)] == ["kept", "also kept"]


async def test_events_keep_the_order_in_which_they_were_published(bus: Any) -> None:
    names = [f"name {number}" for number in range(50)]
    async with bus.database.begin() as session:
        for name in names:
            greet(session, name)
    assert [row.data["name"] for row in await rows(bus)] == names


async def test_an_event_carries_the_trace_it_was_published_in(bus: Any) -> None:
    tracer = TracerProvider().get_tracer("test")
    with tracer.start_as_current_span("request") as span:
        async with bus.database.begin() as session:
            greet(session)
    [row] = await rows(bus)
    context = span.get_span_context()
    version, trace_id, span_id, _ = row.traceparent.split("-")
    assert version == "00"
    assert trace_id == trace.format_trace_id(context.trace_id)
    assert span_id == trace.format_span_id(context.span_id)


async def test_an_entry_has_the_attributes_of_cloudevents(bus: Any) -> None:
    async with bus.database.begin() as session:
        event_id = greet(session)
    [row] = await rows(bus)
    entry = encode("auth", row)
    assert entry.pop("time").endswith("Z")
    assert orjson.loads(entry.pop("data")) == {"name": "Ada", "tenant": None}
    assert entry == {
        "specversion": "1.0",
        "id": str(event_id),
        "source": "acme/auth",
        "type": "auth.user.greeted.v1",
        "subject": "user:1",
        "tenantid": str(TENANT),
        "datacontenttype": "application/json",
    }


async def test_an_event_of_no_tenant_has_no_tenantid(bus: Any) -> None:
    async with bus.database.begin() as session:
        publish(session, Greeted(name="Ada"), tenant_id=None, subject="key:1")
    [row] = await rows(bus)
    assert "tenantid" not in encode("auth", row)


async def test_a_reader_gets_what_was_published(bus: Any) -> None:
    async with bus.database.begin() as session:
        event_id = greet(session, "Zoë 👋 \u2028")
    [row] = await rows(bus)
    received = ReceivedEvent.decode(raw(encode("auth", row)))
    assert received == ReceivedEvent(
        id=event_id,
        type="auth.user.greeted.v1",
        source="acme/auth",
        subject="user:1",
        time=row.time,
        tenant_id=TENANT,
        data={"name": "Zoë 👋 \u2028", "tenant": None},
    )


def raw(entry: dict[str, str]) -> dict[bytes, bytes]:
    return {name.encode(): value.encode() for name, value in entry.items()}


ENTRY = {
    "specversion": "1.0",
    "id": str(uuid4()),
    "source": "acme/auth",
    "type": "auth.user.greeted.v1",
    "subject": "user:1",
    "time": "2026-01-02T03:04:05Z",
    "data": "{}",
}


def test_attributes_that_a_reader_does_not_know_are_no_matter() -> None:
    assert (
        ReceivedEvent.decode(raw({**ENTRY, "dataschema": "urn:x", "tenantid": str(TENANT)})).tenant_id
        == TENANT
    )


@pytest.mark.parametrize(
    "spoilt",
    [
        {"specversion": "0.3"},
        {"id": "7"},
        {"time": "yesterday"},
        {"time": "2026-01-02T03:04:05"},
        {"tenantid": "acme"},
        {"data": "{"},
        {"data": "[]"},
        {"data": "null"},
    ],
)
def test_what_is_not_an_event_is_undecodable(spoilt: dict[str, str]) -> None:
    with pytest.raises(InvalidEvent):
        ReceivedEvent.decode(raw({**ENTRY, **spoilt}))


@pytest.mark.parametrize("missing", sorted(ENTRY))
def test_an_entry_without_a_required_attribute_is_undecodable(missing: str) -> None:
    with pytest.raises(InvalidEvent):
        ReceivedEvent.decode(raw({name: value for name, value in ENTRY.items() if name != missing}))


@pytest.mark.parametrize("entry", [{}, {b"__data__": b"\x00\xff"}, {b"\xff": b"1"}])
def test_foreign_bytes_are_undecodable(entry: dict[bytes, bytes]) -> None:
    with pytest.raises(InvalidEvent):
        ReceivedEvent.decode(entry)


def test_an_undecodable_entry_is_not_quoted() -> None:
    with pytest.raises(InvalidEvent) as refusal:
        ReceivedEvent.decode(raw({**ENTRY, "data": '["a secret"]'}))
    assert "secret" not in str(refusal.value)
