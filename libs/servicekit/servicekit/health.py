"""Liveness, readiness and metrics, on the internal port only."""

import asyncio
from collections.abc import Awaitable, Callable

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from servicekit.auth.dependencies import public

Check = Callable[[], Awaitable[object]]

CHECK_SECONDS = 2.0

router = APIRouter(tags=["health"], dependencies=[public])


@router.get("/healthz")
async def is_alive() -> dict[str, str]:
    """Return ok while the process answers; a lost database is no reason to restart it."""
    return {"status": "ok"}


@router.get("/readyz", responses={503: {"description": "Something that the service needs does not answer."}})
async def is_ready(request: Request) -> Response:
    """Return whether the service is ready, naming every dependency."""
    # A copy: checks are added while the service starts, also while these are awaited.
    checks: dict[str, Check] = dict(request.app.state.resources.checks)
    outcomes = await asyncio.gather(*(outcome(check) for check in checks.values()))
    named = dict(zip(checks, outcomes, strict=True))
    ready = all(word == "ok" for word in outcomes)
    return JSONResponse({"status": "ok" if ready else "unavailable", "checks": named}, 200 if ready else 503)


@router.get("/metrics")
def metrics() -> Response:
    """Return the process's counters in Prometheus' text format."""
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)


async def outcome(check: Check) -> str:
    """Return the outcome of a check: ok, or the kind of failure; its message may contain an address."""
    try:
        await asyncio.wait_for(check(), CHECK_SECONDS)
    except Exception as error:  # whatever it is, it is the answer
        return type(error).__name__
    return "ok"
