"""The envelope of an event, whether it contains an object (snapshot) or refers to one (thin).

docs.stripe.com/api/events/object and docs.stripe.com/api/v2/core/events/object
"""

from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, JsonValue

Id = Annotated[str, Field(pattern=r"^[A-Za-z0-9_/.-]+$", max_length=255)]
EventId = Annotated[str, Field(pattern=r"^evt_[A-Za-z0-9_]+$", max_length=255)]
Json = dict[str, JsonValue]


class Data(BaseModel):
    """What a snapshot event contains."""

    object: Json


class RelatedObject(BaseModel):
    """What a thin event refers to."""

    id: Id
    type: Annotated[str, Field(max_length=255)]


class ObjectRef(BaseModel):
    """The object that an event is about; upcoming invoices have no id."""

    model_config = ConfigDict(frozen=True)

    kind: str
    id: str | None


class Envelope(BaseModel):
    """The fields of an event that decide what is done with it."""

    model_config = ConfigDict(hide_input_in_errors=True)

    object: Literal["event", "v2.core.event"]
    id: EventId
    type: Annotated[str, Field(pattern=r"^[a-z0-9_.]+$", max_length=255)]
    api_version: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]+$", max_length=64)] | None = None
    livemode: bool
    created: Annotated[
        AwareDatetime, Field(ge=datetime(2010, 1, 1, tzinfo=UTC), lt=datetime(2200, 1, 1, tzinfo=UTC))
    ]
    account: Id | None = None
    context: Id | None = None
    snapshot_event: EventId | None = None
    data: Data | None = None
    related_object: RelatedObject | None = None

    @property
    def is_thin(self) -> bool:
        """Return whether the event only refers to its object."""
        return self.object == "v2.core.event"

    @property
    def snapshot(self) -> Json:
        """Return the object as it was when a snapshot event was made, or nothing."""
        return self.data.object if self.data and not self.is_thin else {}

    @property
    def subject(self) -> ObjectRef:
        """Return which object the event is about."""
        if self.is_thin:
            related = self.related_object
            return ObjectRef(kind=related.type, id=related.id) if related else ObjectRef(kind="", id=None)
        return ObjectRef(kind=text(self.snapshot, "object") or "", id=text(self.snapshot, "id"))

    @property
    def customer(self) -> str | None:
        """Return the customer that the object belongs to, where the event names it."""
        if self.subject.kind == "customer":
            return self.subject.id
        return text(self.snapshot, "customer")


def text(fields: Json, name: str) -> str | None:
    """Return a field that is a text, or the id of an object that was expanded."""
    value = fields.get(name)
    if isinstance(value, dict):
        value = value.get("id")
    return value if isinstance(value, str) and value else None
