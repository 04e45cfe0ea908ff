"""Stripe's API, as far as the handlers fetch from it: objects in any state, and failures on demand."""

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from billing_webhook.settings import Settings
from pydantic import SecretStr
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

MAP_CUSTOMER = "insert into customers (stripe_customer_id, tenant_id) values ('cus_1', :tenant)"
DISPATCHES = "select * from stripe_dispatches order by created_at, handler"
THIN_EVENTS = "/v2/core/events"
LISTED_BY_JOBS = {"/v1/events", "/v1/subscriptions", THIN_EVENTS}
EXPANDED = {"charge", "latest_invoice"}
MISSING = {"type": "invalid_request_error", "code": "resource_missing", "message": "No such object"}


@dataclass
class StripeApi:
    """An ASGI app: `objects` by id, `lists` by path; `failures` are status and headers of next answers."""

    objects: dict[str, dict[str, Any]] = field(default_factory=dict)
    # A list that Stripe always has is never missing: a job that fails is not run again for a minute.
    lists: dict[str, list[dict[str, Any]]] = field(
        default_factory=lambda: {path: [] for path in LISTED_BY_JOBS}
    )
    failures: deque[tuple[int, dict[str, str]]] = field(default_factory=deque)
    requests: list[str] = field(default_factory=list)
    # How long each answer takes, and how many of one path, and of all, were in the making at most.
    delay: float = 0
    in_progress: Counter[str] = field(default_factory=Counter)
    at_once: dict[str, int] = field(default_factory=dict)

    def has(self, *objects: Any) -> None:
        for each in objects:
            fields = each if isinstance(each, dict) else each.to_dict()
            self.objects[fields["id"]] = fields

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            request = Request(scope)
            async with self.counted(request.url.path), self.counted("all"):
                await asyncio.sleep(self.delay)
                await self.answer(request)(scope, receive, send)

    @asynccontextmanager
    async def counted(self, name: str) -> AsyncIterator[None]:
        """Count what is in progress at once."""
        self.in_progress[name] += 1
        self.at_once[name] = max(self.at_once.get(name, 0), self.in_progress[name])
        try:
            yield
        finally:
            self.in_progress[name] -= 1

    def answer(self, request: Request) -> Response:
        self.requests.append(f"{request.method} {request.url.path}")
        # Jobs list events and subscriptions meanwhile.
        if self.failures and request.url.path not in LISTED_BY_JOBS:
            status, headers = self.failures.popleft()
            return JSONResponse({"error": {"type": "api_error", "message": "no"}}, status, headers)
        path = request.url.path
        if path == THIN_EVENTS:
            return JSONResponse({"data": self.lists[path], "next_page_url": None})
        if (listed := self.lists.get(path)) is not None:
            return JSONResponse({"object": "list", "data": listed, "has_more": False, "url": path})
        fields = self.objects.get(path.rpartition("/")[2])
        if fields is None:
            missing = {
                "type": "invalid_request_error",
                "code": "resource_missing",
                "message": "No such object",
            }
            return JSONResponse({"error": missing}, 404)
        expanded = EXPANDED & fields.keys() & set(request.query_params.values())
        expanded = {name: self.objects.get(fields[name], fields[name]) for name in expanded}
        return JSONResponse({**fields, **expanded})


def with_stripe(settings: Settings, server: tuple[StripeApi, str]) -> Settings:
    """Return the settings of a service that processes Stripe's events."""
    changes = {
        "enable_billing": True,
        "stripe_secret_key": SecretStr("sk_test_of_these_tests"),
        "stripe_api_base": server[1],
    }
    return settings.model_copy(update=changes)
