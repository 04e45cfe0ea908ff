"""A retry of an unsafe request gets the first answer, and its effect happens once (`Idempotency-Key`).

    router = APIRouter(prefix="/api/v1/conversations", route_class=IdempotentRoute)

After draft-ietf-httpapi-idempotency-key-header. Answers are kept as they are, in the service's database, so a
route whose answer holds a secret (a new token, a new API key) must not be idempotent this way.

A replay passes everything that a fresh request passes (policies, limits, validation) except the route's own
function: a caller who may no longer make the request does not get its answer either.
"""

import contextlib
import functools
import hashlib
import inspect
import re
from collections.abc import Callable, Coroutine, Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from fastapi import Request, Response
from fastapi.responses import StreamingResponse
from fastapi.routing import APIRoute
from sqlalchemy import Column, DateTime, Index, Integer, LargeBinary, Row, Table, func, select
from sqlalchemy.dialects.postgresql import JSONB, insert
from sqlalchemy.ext.asyncio import AsyncSession

from servicekit.auth.dependencies import BearerToken, authenticated
from servicekit.database import Database, metadata
from servicekit.errors import BadRequest, Conflict

HEADER = "Idempotency-Key"
REPLAYED = "Idempotent-Replayed"
WELL_FORMED = re.compile(r"[\x21-\x7e]{1,255}")
SAFE = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
STORED_HEADERS = ("content-type", "location", "etag")
TTL = timedelta(hours=24)

Answer = Callable[[Request], Coroutine[Any, Any, Response]]

idempotency_keys = Table(
    "idempotency_keys",
    metadata(),
    Column("scope", LargeBinary, primary_key=True),
    Column("fingerprint", LargeBinary, nullable=False),
    Column("status", Integer, nullable=False),
    Column("headers", JSONB, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("expires_at", DateTime(timezone=True), nullable=False),
    Index(None, "expires_at"),
)


class InvalidIdempotencyKey(BadRequest):
    """The idempotency key is malformed."""

    default_detail = "Idempotency-Key takes 1 to 255 visible ASCII characters."


class IdempotencyInProgress(Conflict):
    """The first request with this key has not been answered yet."""

    default_detail = (
        "The first request with this Idempotency-Key is still being worked on. Try again shortly."
    )


class IdempotencyConflict(Conflict):
    """The key was used for another request."""

    default_detail = "This Idempotency-Key was used for another request. Take a new key for a new request."


# What came of an earlier request with the same key: its answer, or why there is none for this one.
Earlier = Response | Conflict
_earlier: ContextVar[Earlier | None] = ContextVar("earlier", default=None)


class IdempotentRoute(APIRoute):
    """A route that honours `Idempotency-Key` on unsafe methods; without the header it is an ordinary one.

    The request's transaction is opened here and shared with the route (`Session`): claim, effect and kept
    answer are committed together, or none of them. Errors are not kept. Streaming routes are refused when
    they are defined: a stream cannot be kept, and holds no transaction.
    """

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        super().__init__(path, replaying(endpoint), **options)
        if is_unsafe(self):
            extra = self.openapi_extra or {}
            self.openapi_extra = {**extra, "parameters": [PARAMETER, *extra.get("parameters", [])]}

    def get_route_handler(self) -> Answer:
        """Return the route's handler, run once for each key."""
        answer = super().get_route_handler()
        if not is_unsafe(self):
            return answer
        refuse_stream(self)

        async def handle(request: Request) -> Response:
            key = request.headers.get(HEADER)
            if key is None or request.method in SAFE:
                return await answer(request)
            if not WELL_FORMED.fullmatch(key):
                raise InvalidIdempotencyKey
            claim = IdempotencyClaim(
                await scope_of(request, self.path_format, key), await fingerprint_of(request)
            )
            return await run_once(request, claim, answer)

        return handle


PARAMETER = {
    "name": HEADER,
    "in": "header",
    "required": False,
    "description": "Makes a retry safe: the same key and body get the first answer for 24 hours.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": r"^[\x21-\x7e]+$"},
}


@dataclass(frozen=True)
class IdempotencyClaim:
    """A key in its scope, with the fingerprint of its request."""

    scope: bytes
    fingerprint: bytes

    @property
    def lock(self) -> int:
        """The scope as the number of a Postgres advisory lock."""
        return int.from_bytes(self.scope[:8], signed=True)


def is_unsafe(route: APIRoute) -> bool:
    """Return whether a route has an unsafe method."""
    return bool((route.methods or set()) - SAFE)


def refuse_stream(route: APIRoute) -> None:
    """Raise TypeError for a route that streams its answer."""
    kind = route.response_class
    if isinstance(kind, type) and issubclass(kind, StreamingResponse):
        raise TypeError(f"{route.path}: a streaming route cannot be idempotent")


async def scope_of(request: Request, template: str, key: str) -> bytes:
    """Return the scope of a key: caller and route, so that no answer is replayed to somebody else."""
    caller = ["anonymous"]
    if "authorization" in request.headers:
        principal = await authenticated(request, await BearerToken()(request))
        # For whom a service acts, its token does not say.
        acting_for = request.headers.get("acme-on-behalf-of", "")
        caller = [str(principal.tenant_id), principal.user_id, acting_for]
    return digest(*caller, request.method, template, key)


async def fingerprint_of(request: Request) -> bytes:
    """Return the fingerprint of a request: its path, query and body."""
    return digest(request.url.path, request.url.query, await request.body())


def digest(*parts: str | bytes) -> bytes:
    """Hash parts so that their boundaries matter."""
    whole = hashlib.sha256()
    for part in parts:
        raw = part.encode() if isinstance(part, str) else part
        whole.update(len(raw).to_bytes(8))
        whole.update(raw)
    return whole.digest()


async def run_once(request: Request, claim: IdempotencyClaim, answer: Answer) -> Response:
    """Answer a request, with the stored response if its key was used before."""
    database: Database = request.app.state.resources.database
    async with database.begin() as session:
        request.state.session = session
        earlier = await find(session, claim)
        with replaying_earlier(earlier):
            response = await answer(request)
        if response.status_code >= 400:
            await session.rollback()
        elif earlier is None:
            await store_response(session, claim, response)
        return response


async def find(session: AsyncSession, claim: IdempotencyClaim) -> Earlier | None:
    """Return the stored response of this claim; None for the first request, which now holds the claim."""
    # Held until this transaction ends; a process that dies lets go of it.
    if not await session.scalar(select(func.pg_try_advisory_xact_lock(claim.lock))):
        return IdempotencyInProgress(retry_after=1)
    is_stored = (idempotency_keys.c.scope == claim.scope) & (idempotency_keys.c.expires_at > func.now())
    row: Row[Any] | None = (await session.execute(select(idempotency_keys).where(is_stored))).first()
    if row is None:
        return None
    if row.fingerprint != claim.fingerprint:
        return IdempotencyConflict()
    return Response(row.body, status_code=row.status, headers={**row.headers, REPLAYED: "true"})


@contextlib.contextmanager
def replaying_earlier(earlier: Earlier | None) -> Iterator[None]:
    """Replace the route's function by one that returns the earlier response."""
    token = _earlier.set(earlier)
    try:
        yield
    finally:
        _earlier.reset(token)


def replaying(endpoint: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a route's function to return the earlier response if there is one.

    It is called after all that the route depends on, so a replay is authorised as a fresh request is.
    """
    if not inspect.iscoroutinefunction(endpoint):
        raise TypeError(f"{endpoint.__qualname__}: a streaming route cannot be idempotent, only a coroutine")

    @functools.wraps(endpoint)
    async def replay(**values: Any) -> Any:
        earlier = _earlier.get()
        if isinstance(earlier, Conflict):
            raise earlier
        return await endpoint(**values) if earlier is None else earlier

    return replay


async def store_response(session: AsyncSession, claim: IdempotencyClaim, response: Response) -> None:
    """Store a response in the transaction of its effect."""
    if isinstance(response, StreamingResponse):
        raise TypeError("a streamed answer cannot be kept")
    answer = {
        "fingerprint": claim.fingerprint,
        "status": response.status_code,
        "headers": {name: response.headers[name] for name in STORED_HEADERS if name in response.headers},
        "body": bytes(response.body),
        "expires_at": func.now() + TTL,
    }
    row = insert(idempotency_keys).values(scope=claim.scope, **answer)
    # A row in the way has expired, or `find` would have found it.
    await session.execute(row.on_conflict_do_update(index_elements=["scope"], set_=answer))
