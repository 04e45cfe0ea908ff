"""Builds the routers of auth."""

from fastapi import APIRouter, Depends, Response

from auth.client_info import bind_client_info


def no_store(response: Response) -> None:
    """Forbid caching of responses, which may hold tokens (RFC 6749 section 5.1)."""
    response.headers["Cache-Control"] = "no-store"


def auth_router(tag: str, prefix: str = "") -> APIRouter:
    """Return a router below /api/v1/auth: no response is cached, every request knows its client."""
    return APIRouter(
        prefix=f"/api/v1/auth{prefix}",
        tags=[tag],
        dependencies=[Depends(no_store), Depends(bind_client_info)],
    )
