"""What the sandbox's Stripe holds: objects by kind and id, a clock that can be advanced, and its events."""

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from sandbox.stripe.errors import missing_object
from sandbox.stripe.objects import API_VERSION, StripeObject, new_id, previous_attributes, public

EVENT_RETENTION = 30 * 24 * 3600
_MAX_EVENTS = 100_000
_BOUNDED = frozenset({"event", "v2.core.event"})


@dataclass(frozen=True)
class RequestContext:
    """The request that is being answered; empty where time, not a client, is the cause."""

    id: str | None = None
    idempotency_key: str | None = None
    base_url: str = ""


@dataclass
class Rules:
    """How time treats invoices and deliveries; changed by POST /_ctl/rules."""

    finalize_after: int = 3600  # seconds that the draft of a renewal stays open
    retry_days: tuple[int, ...] = (1, 3, 5)  # days between the tries to collect a payment
    after_dunning: str = "canceled"  # or unpaid, past_due
    delivery_retries: tuple[float, ...] = (0.2, 0.5, 1.0, 2.0)
    delivery_timeout: float = 30.0
    delivery_concurrency: int = 1  # more than one, and events no longer arrive in their order


@dataclass
class Store:
    """All state. Everything in `tables` is JSON; members that begin with an underscore stay inside."""

    tables: dict[str, dict[str, StripeObject]] = field(default_factory=dict)
    offset: int = 0
    rules: Rules = field(default_factory=Rules)
    context: RequestContext = field(default_factory=RequestContext)
    on_event: list[Callable[[StripeObject], None]] = field(default_factory=list)
    # Events of meters by meter and customer.
    usage: dict[str, dict[str, list[StripeObject]]] = field(default_factory=dict)
    # The same events by their identifier.
    identifiers: dict[str, StripeObject] = field(default_factory=dict)
    # Set by every change; whoever waits for it clears it.
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    _paused_at: int | None = None

    def now(self) -> int:
        """Return the time in seconds, as the clock has it."""
        return int(time.time()) + self.offset if self._paused_at is None else self._paused_at

    @contextmanager
    def at(self, moment: int) -> Iterator[None]:
        """Do something as if it were another time."""
        former, self._paused_at = self._paused_at, moment
        try:
            yield
        finally:
            self._paused_at = former

    def touch(self) -> None:
        """Publish that something has changed."""
        self.changed.set()

    def table(self, kind: str) -> dict[str, StripeObject]:
        """Return the objects of a kind, oldest first."""
        return self.tables.setdefault(kind, {})

    def insert(self, obj: StripeObject, event: str | None = None) -> StripeObject:
        """Store a new object and publish its event."""
        table = self.table(obj["object"])
        table[obj["id"]] = obj
        if obj["object"] in _BOUNDED and len(table) > _MAX_EVENTS:
            del table[next(iter(table))]
        self.touch()
        if event:
            self.emit(event, obj)
        return obj

    def find(self, object_id: str) -> StripeObject | None:
        """Return the object with an id, whatever its kind."""
        return next((table[object_id] for table in self.tables.values() if object_id in table), None)

    def get(self, kind: str, object_id: str, param: str = "id", *, in_path: bool = False) -> StripeObject:
        """Return an object that is there and not deleted; raises StripeError."""
        obj = self.table(kind).get(object_id)
        if obj is None or obj.get("deleted"):
            raise missing_object(kind, object_id, param, in_path=in_path)
        return obj

    def where(self, kind: str, **members: Any) -> list[StripeObject]:
        """Return the objects whose members have these values, oldest first."""
        return [
            obj
            for obj in self.table(kind).values()
            if all(obj.get(name) == value for name, value in members.items())
        ]

    @contextmanager
    def updating(self, obj: StripeObject, *events: str) -> Iterator[StripeObject]:
        """Change an object, and publish its events with what was before, if anything has changed."""
        before = public(obj)
        yield obj
        self.touch()
        if changes := previous_attributes(before, public(obj)):
            for event in events:
                self.emit(event, obj, changes)

    def emit(self, kind: str, obj: StripeObject, changes: StripeObject | None = None) -> StripeObject:
        """Publish a snapshot event."""
        data: StripeObject = {"object": public(obj)}
        if changes is not None:
            data["previous_attributes"] = changes
        event: StripeObject = {
            "id": new_id("evt"),
            "object": "event",
            "api_version": API_VERSION,
            "created": self.now(),
            "data": data,
            "livemode": False,
            "pending_webhooks": 0,
            "request": {"id": self.context.id, "idempotency_key": self.context.idempotency_key},
            "type": kind,
        }
        self.insert(event)
        self.announce(event)
        return event

    def announce(self, event: StripeObject) -> None:
        """Notify whoever delivers events of one."""
        self.touch()
        for listener in self.on_event:
            listener(event)
