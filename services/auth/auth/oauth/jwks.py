"""Serves the public keys with headers for caches (RFC 9110, RFC 7517)."""

import re
from collections.abc import Sequence

from fastapi import Response, status
from fastapi.responses import JSONResponse

from auth.security.keyed_hash import keyed_hash
from auth.services import AuthServices

MEDIA_TYPE = "application/jwk-set+json"
# An entity tag inside a list; its weakness does not matter for If-None-Match (RFC 9110 section 13.1.2).
TAG = re.compile(r'(?:W/)?("[\x21\x23-\x7e\x80-\xff]*")')


class JwkSetResponse(JSONResponse):
    """An answer of the media type of key sets."""

    media_type = MEDIA_TYPE


async def respond(services: AuthServices, if_none_match: Sequence[str]) -> Response:
    """Return the key set, or 304 when it has not changed."""
    body = await services.keys.key_set()
    # Salted, so that nobody can tell from a tag which keys to expect; the same in every replica.
    tag = f'"{keyed_hash(services.settings.auth_jwks_etag_salt, "key set", body).hex()[:32]}"'
    max_age = services.settings.auth_jwks_max_age_seconds
    headers = {"Cache-Control": f"public, max-age={max_age}", "ETag": tag}
    if is_known(tag, if_none_match):
        return Response(status_code=status.HTTP_304_NOT_MODIFIED, headers=headers)
    return Response(body, media_type=MEDIA_TYPE, headers=headers)


def is_known(tag: str, if_none_match: Sequence[str]) -> bool:
    """Return whether `if_none_match`, the lines of the header, contains the tag."""
    return any(line.strip() == "*" or tag in TAG.findall(line) for line in if_none_match)
