"""The key set that a service verifies tokens by, so that the gateway has it while auth is down."""

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from servicekit.auth.dependencies import public
from servicekit.jwks.cache import JwksCache

router = APIRouter(dependencies=[public], include_in_schema=False)


@router.get("/.well-known/jwks.json")
async def known_keys(request: Request) -> JSONResponse:
    """Return auth's key set (RFC 7517) as it is known here; raises KeySourceUnavailable when it is stale."""
    keys: JwksCache = request.app.state.resources.keys
    jwks = [key.jwk() for key in keys.all_keys()]
    return JSONResponse(
        {"keys": jwks}, headers={"Cache-Control": "no-store"}, media_type="application/jwk-set+json"
    )
