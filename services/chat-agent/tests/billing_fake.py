"""Billing as chat-agent calls it: a small server with one limit for each tenant's messages and tokens.

It keeps to what the pacts say; the real one is verified against the same pacts.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse

MONTH = timedelta(days=20)


@dataclass
class Call:
    """A reservation: what was asked for, and what of it is held now."""

    request: dict[str, Any]
    messages: int
    tokens: int
    settled: dict[str, int] | None = None


@dataclass
class Billing:
    """The limits, and what was reserved of them."""

    limits: dict[str, int] = field(default_factory=dict)
    has_limits: bool = True
    # How large a request may be.
    requests: dict[str, int] = field(default_factory=dict)
    is_soft: bool = False
    down: bool = False
    # A call that finds the tokens used up.
    refused_call: str | None = None
    resets_in: timedelta = MONTH
    calls: dict[tuple[str, str], Call] = field(default_factory=dict)
    limit_requests: int = 0

    def __post_init__(self) -> None:
        self.app = FastAPI()
        self.app.middleware("http")(self._fail_when_down)
        prefix = "/internal/v1/tenants/{tenant_id}"
        self.app.get(f"{prefix}/limits")(self.get_limits)
        self.app.put(f"{prefix}/reservations/{{run_id}}/calls/{{call}}")(self.reserve)
        self.app.post(f"{prefix}/reservations/{{run_id}}/calls/{{call}}/settle")(self.settle)

    def reset(self) -> None:
        self.limits, self.calls = {}, {}
        self.has_limits, self.is_soft, self.down, self.refused_call = True, False, False, None
        self.resets_in, self.limit_requests, self.requests = MONTH, 0, {}

    def reserved(self, feature: str) -> int:
        return sum(getattr(call, feature) for call in self.calls.values())

    def of_run(self, run_id: str) -> dict[str, Call]:
        return {call: made for (id_, call), made in self.calls.items() if id_ == run_id}

    async def _fail_when_down(self, request: Request, call_next: Any) -> Response:
        if self.down:
            return Response(status_code=503)
        answer: Response = await call_next(request)
        return answer

    async def get_limits(self, tenant_id: str) -> dict[str, Any]:
        self.limit_requests += 1
        return {"has_limits": self.has_limits, "requests": self.requests}

    async def reserve(self, tenant_id: str, run_id: str, call: str, request: Request) -> Any:
        body = await request.json()
        if (known := self.calls.get((run_id, call))) is not None:
            return self._reserved() if known.request == body else JSONResponse({"code": "conflict"}, 409)
        if call == self.refused_call:
            return self._refused("tokens", 2200, body["input_tokens"] + body["output_tokens"])
        amounts = {"messages": body["messages"], "tokens": body["input_tokens"] + body["output_tokens"]}
        if not self.is_soft:
            for feature, limit in self.limits.items():
                # The start of a run asks whether there is anything left.
                least = amounts[feature] or (1 if body["messages"] else 0)
                if least and self.reserved(feature) + least > limit:
                    return self._refused(feature, limit, amounts[feature])
        self.calls[run_id, call] = Call(body, **amounts)
        return self._reserved()

    async def settle(self, tenant_id: str, run_id: str, call: str, request: Request) -> Any:
        body = await request.json()
        made = self.calls.get((run_id, call))
        if made is None:
            return JSONResponse({"code": "reservation_not_found"}, 404)
        made.settled = body
        made.messages = body.get("messages", made.messages)
        made.tokens = body["input_tokens"] + body["output_tokens"]
        return {**self._reserved(), "state": "settled"}

    def _reserved(self) -> dict[str, Any]:
        warnings = [
            {
                "feature": feature,
                "scope": "tenant",
                "used": str(self.reserved(feature)),
                "limit": str(limit),
                "resets_at": self._resets_at(),
            }
            for feature, limit in self.limits.items()
            if self.reserved(feature) > limit
        ]
        return {"state": "reserved", "expires_at": self._resets_at(), "warnings": warnings}

    def _refused(self, feature: str, limit: int, requested: int) -> JSONResponse:
        problem = {
            "code": "quota_exceeded",
            "feature": feature,
            "scope": "tenant",
            "limit": str(limit),
            "used": "0",
            "reserved": str(self.reserved(feature)),
            "requested": str(requested),
            "resets_at": self._resets_at(),
            "upgrade_url": "https://app.example.com/billing",
        }
        return JSONResponse(problem, 402 if self.resets_in > timedelta(days=1) else 429)

    def _resets_at(self) -> str:
        return (datetime.now(UTC) + self.resets_in).isoformat().replace("+00:00", "Z")
