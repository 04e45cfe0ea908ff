"""Events for other services, stored in the outbox by the transaction of the change that they describe.

On the wire an event is a CloudEvent (https://github.com/cloudevents/spec, version 1.0), one field of a
stream entry for each attribute.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, ClassVar, Self
from uuid import UUID, uuid4

import orjson
from pydantic import AwareDatetime, BaseModel, ConfigDict, JsonValue
from sqlalchemy import BigInteger, Column, DateTime, Identity, Index, Row, Table, Text, Uuid, func, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import registry

from servicekit.database import metadata, wake_on_commit
from servicekit.telemetry import traceparent

SPEC_VERSION = "1.0"

_tables = metadata()

# A service takes the tables that it needs into its own metadata: `outbox.to_metadata(Base.metadata)`.
outbox = Table(
    "outbox",
    _tables,
    Column("id", Uuid, primary_key=True),
    Column("seq", BigInteger, Identity(), nullable=False),
    Column("type", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("tenant_id", Uuid),
    Column("time", DateTime(timezone=True), nullable=False),
    Column("traceparent", Text),
    Column("data", JSONB, nullable=False),
    Column("published_at", DateTime(timezone=True)),
    # The relay looks for what is unpublished many times a second; published rows must not be in its way.
    Index(None, "seq", postgresql_where=text("published_at is null")),
    Index(None, "published_at"),
)

# Each service has a database of its own, so "handled here" needs no name of a reader.
inbox = Table(
    "inbox",
    _tables,
    Column("event_id", Uuid, primary_key=True),
    Column("handled_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Index(None, "handled_at"),
)


class _OutboxRow:
    """A row of the outbox as a mapped class: written with the session's flush, undone with its savepoint."""

    def __init__(self, **values: Any) -> None:
        for name, value in values.items():
            setattr(self, name, value)


registry(metadata=_tables).map_imperatively(_OutboxRow, outbox)


class Event(BaseModel):
    """Something that happened: its data are its fields, its `type` is `<service>.<thing>.<happened>.v<n>`."""

    model_config = ConfigDict(frozen=True)

    type: ClassVar[str]


class InvalidEvent(ValueError):
    """A stream entry is not an event."""


class ReceivedEvent(BaseModel):
    """An event as a reader gets it; `data` has what the publisher's JSON Schema for this type says."""

    model_config = ConfigDict(frozen=True)

    id: UUID
    type: str
    source: str
    subject: str
    time: AwareDatetime
    tenant_id: UUID | None = None
    traceparent: str | None = None
    data: dict[str, JsonValue]

    @classmethod
    def decode(cls, fields: Mapping[bytes, bytes]) -> Self:
        """Read a stream entry; unknown attributes are ignored. Raises InvalidEvent."""
        try:
            attributes = {name.decode(): value.decode() for name, value in fields.items()}
            data = orjson.loads(attributes.get("data", ""))
            received = cls.model_validate(
                {**attributes, "tenant_id": attributes.get("tenantid"), "data": data}
            )
        except ValueError as error:
            raise InvalidEvent(f"not an event: {type(error).__name__}") from error
        if attributes.get("specversion") != SPEC_VERSION:
            raise InvalidEvent("not an event: its specversion is not 1.0")
        return received


def publish(session: AsyncSession, event: Event, *, tenant_id: UUID | None, subject: str) -> UUID:
    """Publish an event if, and only if, the session's transaction commits; returns its id.

    `subject` names what it happened to (`user:<uuid>`), `tenant_id` whose that is.
    """
    event_id = uuid4()
    wake_on_commit(session, outbox.name)
    session.add(
        _OutboxRow(
            id=event_id,
            type=event.type,
            subject=subject,
            tenant_id=tenant_id,
            time=datetime.now(UTC),
            traceparent=traceparent(),
            data=event.model_dump(mode="json"),
        )
    )
    return event_id


def encode(source: str, row: Row[Any]) -> dict[str, str]:
    """Return the stream entry for an outbox row of the service `source`."""
    attributes = {
        "specversion": SPEC_VERSION,
        "id": str(row.id),
        "source": f"acme/{source}",
        "type": row.type,
        "subject": row.subject,
        "time": row.time.astimezone(UTC).isoformat().replace("+00:00", "Z"),
        "tenantid": row.tenant_id and str(row.tenant_id),
        "traceparent": row.traceparent,
        "datacontenttype": "application/json",
        "data": orjson.dumps(row.data).decode(),
    }
    return {name: value for name, value in attributes.items() if value}
