"""Deliveries of events to webhook endpoints: signed, tried again, and disturbed on demand."""

import asyncio
import json
import logging
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

import httpx
from stripe import WebhookSignature

from sandbox.stripe.event_destinations import KIND as DESTINATION
from sandbox.stripe.faults import DeliveryFault, FaultQueue
from sandbox.stripe.objects import StripeObject, public
from sandbox.stripe.store import Store
from sandbox.stripe.thin_events import notification_of, thin_twin

_MAX_WAITING = 100_000
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Delivery:
    """One event on its way to one endpoint."""

    event: StripeObject
    endpoint_id: str
    attempt: int = 0


@dataclass
class Deliverer:
    """Sends events in the order in which they happen, unless a fault says otherwise."""

    store: Store
    faults: FaultQueue
    waiting: deque[Delivery] = field(default_factory=lambda: deque(maxlen=_MAX_WAITING))
    log: deque[StripeObject] = field(default_factory=lambda: deque(maxlen=10_000))
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _running: set[asyncio.Task[None]] = field(default_factory=set)
    _timers: set[asyncio.TimerHandle] = field(default_factory=set)
    _collected: dict[int, list[Delivery]] = field(default_factory=dict)

    def publish(self, event: StripeObject) -> None:
        """Queue an event for every endpoint that wants it, and its thin twin for those that want that."""
        if event["object"] == "event":
            self._queue(event, self._endpoints(event["type"], "snapshot"))
            if any(each["event_payload"] == "thin" for each in self.store.table(DESTINATION).values()):
                twin = thin_twin(self.store, event)
                event = twin or event
        if event["object"] != "event":
            self._queue(event, self._endpoints(event["type"], "thin"))

    def _endpoints(self, kind: str, payload: str) -> list[str]:
        snapshots = self.store.where("webhook_endpoint", status="enabled") if payload == "snapshot" else []
        destinations = self.store.where(DESTINATION, status="enabled", event_payload=payload)
        is_ping = kind == "v2.core.event_destination.ping"
        return [
            each["id"]
            for each in [*snapshots, *destinations]
            if is_ping or any(fnmatchcase(kind, pattern) for pattern in each["enabled_events"])
        ]

    def _queue(self, event: StripeObject, endpoints: list[str]) -> None:
        if not endpoints:
            return
        event["pending_webhooks"] = len(endpoints)
        deliveries = [Delivery(event, each) for each in endpoints]
        fault = self.faults.for_event(event["type"])
        if fault is None:
            self._send(deliveries)
        elif fault.kind == "duplicate":
            self._send(deliveries * fault.copies)
        elif fault.kind == "late":
            self._after(fault.seconds, deliveries)
        elif fault.kind == "reorder":
            self._collect(fault, deliveries)

    def _collect(self, fault: DeliveryFault, deliveries: list[Delivery]) -> None:
        key = id(fault)
        collected = self._collected.setdefault(key, [])
        if not collected:
            self._call_later(fault.seconds, lambda: self._release(key))
        collected[:0] = deliveries
        if not fault.count:
            self._release(key)

    def _release(self, key: int) -> None:
        self._send(self._collected.pop(key, []))

    def _send(self, deliveries: list[Delivery]) -> None:
        self.waiting.extend(deliveries)
        self._wake.set()

    def _after(self, seconds: float, deliveries: list[Delivery]) -> None:
        self._call_later(seconds, lambda: self._send(deliveries))

    def _call_later(self, seconds: float, act: Callable[[], None]) -> None:
        def run() -> None:
            self._timers.discard(timer)
            act()

        timer = asyncio.get_running_loop().call_later(seconds, run)
        self._timers.add(timer)

    async def run(self) -> None:
        """Deliver until it is cancelled."""
        async with httpx.AsyncClient(trust_env=False, limits=httpx.Limits(max_connections=100)) as http:
            try:
                while True:
                    await self._wake.wait()
                    self._wake.clear()
                    while self.waiting:
                        await self._start(http, self.waiting.popleft())
            finally:
                for timer in self._timers:
                    timer.cancel()
                for task in list(self._running):
                    task.cancel()
                await asyncio.gather(*self._running, return_exceptions=True)

    async def _start(self, http: httpx.AsyncClient, delivery: Delivery) -> None:
        while len(self._running) >= self.store.rules.delivery_concurrency:
            await asyncio.wait(self._running, return_when=asyncio.FIRST_COMPLETED)
        task = asyncio.create_task(self._deliver(http, delivery))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _deliver(self, http: httpx.AsyncClient, delivery: Delivery) -> None:
        endpoint = self._endpoint(delivery.endpoint_id)
        if endpoint is None:
            return
        status = await self._post(http, endpoint, delivery.event)
        self._log(delivery, status)
        if status is not None and 200 <= status < 300:
            self._confirm(delivery)
        elif delivery.attempt < len(self.store.rules.delivery_retries):
            again = Delivery(delivery.event, delivery.endpoint_id, delivery.attempt + 1)
            self._after(self.store.rules.delivery_retries[delivery.attempt], [again])

    def _log(self, delivery: Delivery, status: int | None) -> None:
        self.log.append(
            {
                "event": delivery.event["id"],
                "type": delivery.event["type"],
                "endpoint": delivery.endpoint_id,
                "attempt": delivery.attempt + 1,
                "status": status,
            }
        )

    def _endpoint(self, endpoint_id: str) -> StripeObject | None:
        found = self.store.find(endpoint_id)
        return found if found and found["status"] == "enabled" else None

    def _confirm(self, delivery: Delivery) -> None:
        delivered = delivery.event.setdefault("_delivered", [])
        if delivery.endpoint_id not in delivered:
            delivered.append(delivery.endpoint_id)
            delivery.event["pending_webhooks"] -= 1
            self.store.touch()

    async def _post(self, http: httpx.AsyncClient, endpoint: StripeObject, event: StripeObject) -> int | None:
        body = notification_of(event) if event["object"] == "v2.core.event" else event
        payload = json.dumps(public(body), indent=2)
        # Receivers compare it with their own clock, which nobody advances.
        signature = WebhookSignature.generate_signature_header(payload, endpoint["_secret"], int(time.time()))
        headers = {
            "Content-Type": "application/json; charset=utf-8",
            "Stripe-Signature": signature,
            "User-Agent": "Stripe/1.0 (+https://stripe.com/docs/webhooks)",
        }
        url = endpoint.get("url") or endpoint["_url"]
        timeout = self.store.rules.delivery_timeout
        try:
            response = await http.post(url, content=payload.encode(), headers=headers, timeout=timeout)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            logger.debug("a delivery failed", extra={"error": repr(error)})
            return None
        return response.status_code
