"""Faults on demand: of answers, and of deliveries to webhook endpoints."""

from collections import deque
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Literal

from pydantic import BaseModel, Field

_MAX_FAULTS = 1_000


class ApiFault(BaseModel):
    """What happens to the next `count` requests that match, after `skip` that go well.

    `worked`: the request has its effect, and only the answer is lost. `stored`: the error is also the answer
    to the same idempotency key from now on, as Stripe's own errors are once a request has begun.
    """

    kind: Literal["error", "timeout", "drop", "delay"] = "error"
    status: int = Field(default=500, ge=400, le=599)
    count: int = Field(default=1, ge=1, le=1_000_000)
    skip: int = Field(default=0, ge=0)
    method: Literal["GET", "POST", "DELETE"] | None = None
    path: str = "*"
    worked: bool = False
    stored: bool = False
    seconds: float = Field(default=0, ge=0, le=600)
    should_retry: bool | None = None
    retry_after: int | None = None

    def matches(self, method: str, path: str) -> bool:
        """Whether a request is one that it is meant for."""
        return self.method in {None, method} and fnmatchcase(path, self.path)

    @property
    def comes_first(self) -> bool:
        """Whether the request gets nowhere."""
        return self.kind != "delay" and not self.worked and not self.stored

    @property
    def comes_last(self) -> bool:
        """Whether only the answer is lost."""
        return self.kind != "delay" and self.worked


class DeliveryFault(BaseModel):
    """What happens to the next `count` events that match, at every webhook endpoint.

    `reorder`: they are collected, and delivered last first once all have come or `seconds` have passed.
    """

    kind: Literal["duplicate", "late", "reorder", "drop"]
    count: int = Field(default=1, ge=1, le=10_000)
    type: str = "*"
    seconds: float = Field(default=1, ge=0, le=600)
    copies: int = Field(default=2, ge=2, le=20)


class Faults(BaseModel):
    """Faults to add."""

    api: list[ApiFault] = []
    deliveries: list[DeliveryFault] = []


@dataclass
class FaultQueue:
    """The faults that are left, oldest first."""

    api: deque[ApiFault] = field(default_factory=lambda: deque(maxlen=_MAX_FAULTS))
    deliveries: deque[DeliveryFault] = field(default_factory=lambda: deque(maxlen=_MAX_FAULTS))

    def add(self, faults: Faults) -> None:
        """Queue faults."""
        self.api.extend(fault.model_copy() for fault in faults.api)
        self.deliveries.extend(fault.model_copy() for fault in faults.deliveries)

    def clear(self) -> None:
        """Drop all faults."""
        self.api.clear()
        self.deliveries.clear()

    def for_request(self, method: str, path: str) -> ApiFault | None:
        """Return the fault that this request meets, and count it."""
        for fault in self.api:
            if not fault.matches(method, path):
                continue
            if fault.skip:
                fault.skip -= 1
                return None
            fault.count -= 1
            if not fault.count:
                self.api.remove(fault)
            return fault
        return None

    def for_event(self, kind: str) -> DeliveryFault | None:
        """Return the fault that this event meets, and count it."""
        for fault in self.deliveries:
            if fnmatchcase(kind, fault.type):
                fault.count -= 1
                if not fault.count:
                    self.deliveries.remove(fault)
                return fault
        return None
