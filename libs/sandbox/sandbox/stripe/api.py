"""The front of the API: authentication, parameters, idempotency, faults, expansion and answers."""

import asyncio
import inspect
import json
import logging
from dataclasses import dataclass, field
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from sandbox.stripe.errors import StripeError, not_supported
from sandbox.stripe.expansion import Includable, expand
from sandbox.stripe.faults import ApiFault, FaultQueue
from sandbox.stripe.form import decode_form
from sandbox.stripe.idempotency import IdempotencyKeys, StoredAnswer, digest
from sandbox.stripe.meter_events import check_session
from sandbox.stripe.objects import API_VERSION, Params, StripeObject, new_id, public
from sandbox.stripe.operations import Operation, Operations
from sandbox.stripe.params import validate
from sandbox.stripe.store import RequestContext, Store

_MAX_BODY = 1_000_000
_STREAM_PATH = "/v2/billing/meter_event_stream"
logger = logging.getLogger(__name__)


class DroppedConnection(Response):
    """No answer but a connection that breaks."""

    async def __call__(self, _scope: Scope, receive: Receive, send: Send) -> None:
        """Close the connection, or where the server hides it, leave the answer unfinished."""
        if transport := _transport_below(receive):
            transport.abort()
            return
        headers = [(b"content-type", b"application/json"), (b"content-length", b"1000")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"{", "more_body": True})


def _transport_below(receive: Any) -> Any:
    # Middleware and instrumentation wrap what the server passes, in methods and in closures.
    while receive is not None:
        owner = getattr(receive, "__self__", None)
        if transport := getattr(owner, "transport", None):
            return transport
        nonlocals = inspect.getclosurevars(receive).nonlocals
        receive = getattr(owner, "_receive", None) or nonlocals.get("receive")
    return None


@dataclass(frozen=True)
class Call:
    """A request that is authorized, before its parameters are validated."""

    operation: Operation
    ids: list[str]
    path: str
    params: Params
    context: RequestContext

    @property
    def digest(self) -> str:
        """What tells it from other requests with the same idempotency key."""
        return digest(self.operation.method, self.path, self.params)

    def validate(self) -> Params:
        """Return its parameters, typed; raises StripeError."""
        # The SDK adds `usage` to what it fetches for an event; `page` is in the links of API v2.
        is_v2 = self.path.startswith("/v2/")
        extra = {"usage", "page"} if is_v2 else {"usage"}
        plain = {name: value for name, value in self.params.items() if name not in extra}
        typed = validate(self.operation.params, plain, self.operation.supported)
        return typed | {"page": self.params.get("page", "0")} if is_v2 else typed


@dataclass
class Api:
    """Everything that answers /v1 and /v2."""

    store: Store
    operations: Operations
    includables: dict[tuple[str, str], Includable]
    faults: FaultQueue = field(default_factory=FaultQueue)
    keys: IdempotencyKeys = field(default_factory=IdempotencyKeys)

    async def answer(self, request: Request) -> Response:
        """Answer a request; never raises."""
        request_id = new_id("req", 14)
        try:
            response = await self._answer(request, request_id)
        except StripeError as error:
            response = error.response(request_id)
        except Exception:
            logger.exception("request to the Stripe sandbox failed")
            message = "The Stripe sandbox failed; its log says why."
            response = StripeError(message, type="api_error").response(request_id)
        response.headers["Request-Id"] = request_id
        response.headers["Stripe-Version"] = API_VERSION
        if key := request.headers.get("Idempotency-Key"):
            response.headers["Idempotency-Key"] = key
        return response

    async def _answer(self, request: Request, request_id: str) -> Response:
        path = "/" + request.path_params["path"]
        operation, ids = self.operations.match(request.method, path)
        self._authorize(request, path)
        fault = self.faults.for_request(request.method, path)
        if fault and fault.comes_first:
            return await self._meet(fault, request)
        # Only what creates has keys to honour; Stripe ignores them elsewhere.
        key = request.headers.get("Idempotency-Key") if request.method == "POST" else None
        context = RequestContext(request_id, key, base_url(request))
        call = Call(operation, ids, path, await _read_params(request), context)
        response = await self._execute(call, fault)
        if fault and fault.comes_last:
            return await self._meet(fault, request)
        return response

    def _authorize(self, request: Request, path: str) -> None:
        secret = _authenticate(request)
        if path == _STREAM_PATH:
            check_session(self.store, secret)
        elif not secret.startswith("sk_test_"):
            raise StripeError(f"Invalid API Key provided: {secret[:8]}****{secret[-4:]}", status=401)
        for header in ("Stripe-Account", "Stripe-Context"):
            if header in request.headers:
                raise not_supported(f"the header {header}: there is one account")

    async def _execute(self, call: Call, fault: ApiFault | None) -> Response:
        key, fingerprint = call.context.idempotency_key, call.digest
        if key and (stored := self.keys.find(key, fingerprint, self.store.now())):
            return JSONResponse(stored.body, stored.status, headers={"Idempotent-Replayed": "true"})
        typed = call.validate()
        if key:
            self.keys.running.add(key)
        try:
            if fault and fault.kind == "delay":
                await asyncio.sleep(fault.seconds)
            status, body = self._run(call, typed, fault)
        finally:
            self.keys.running.discard(key or "")
        if key and (status < 500 or (fault and fault.stored)):
            self.keys.store(key, StoredAnswer(fingerprint, status, body, self.store.now()))
        return JSONResponse(body, status)

    def _run(self, call: Call, params: Params, fault: ApiFault | None) -> tuple[int, StripeObject]:
        self.store.context = call.context
        if call.operation.method != "GET":
            self.store.touch()
        try:
            if fault and fault.stored and not fault.worked:
                raise _fault_error(fault)
            # All that a request does happens at one time, however long it takes.
            with self.store.at(self.store.now()):
                answer = public(call.operation.handler(self.store, params, *call.ids))
            body = expand(self.store, answer, params.get("expand", []), self.includables)
            if fault and fault.stored:
                raise _fault_error(fault)
        except StripeError as error:
            return error.status, error.to_json(call.context.id or "")
        finally:
            self.store.context = RequestContext(base_url=call.context.base_url)
        return 200, body

    async def _meet(self, fault: ApiFault, request: Request) -> Response:
        if fault.kind == "drop":
            return DroppedConnection()
        if fault.kind == "timeout":
            await _wait_for_the_client_to_leave(request)
            return Response(status_code=504)
        raise _fault_error(fault)


def _fault_error(fault: ApiFault) -> StripeError:
    headers = {} if fault.retry_after is None else {"Retry-After": str(fault.retry_after)}
    if fault.should_retry is not None:
        headers["Stripe-Should-Retry"] = str(fault.should_retry).lower()
    if fault.status == 429:
        message = "Request rate limit exceeded. You can learn more about rate limits here https://stripe.com/docs/rate-limits."
        return StripeError(message, "rate_limit", status=429, headers=headers)
    message = "An unknown error occurred. The Stripe sandbox was asked for it."
    kind = "api_error" if fault.status >= 500 else "invalid_request_error"
    return StripeError(message, type=kind, status=fault.status, headers=headers)


def base_url(request: Request) -> str:
    """Return the address of this app, also where it is mounted below a path."""
    return f"{request.url.scheme}://{request.url.netloc}{request.scope.get('root_path', '')}"


async def _wait_for_the_client_to_leave(request: Request) -> None:
    await request.body()
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _authenticate(request: Request) -> str:
    kind, _, key = request.headers.get("Authorization", "").partition(" ")
    if kind.lower() != "bearer" or not key.strip():
        message = (
            "You did not provide an API key. Provide it in the Authorization header, as 'Bearer sk_test_…'."
        )
        raise StripeError(message, status=401)
    version = request.headers.get("Stripe-Version", API_VERSION)
    if version != API_VERSION:
        message = f"Invalid Stripe API version: {version}. The sandbox speaks {API_VERSION} only."
        raise StripeError(message)
    return key.strip()


async def _read_params(request: Request) -> Params:
    if request.method != "POST":
        return decode_form(request.url.query)
    body = await request.body()
    if len(body) > _MAX_BODY:
        raise StripeError("The request is too large.", status=413)
    try:
        if not request.headers.get("Content-Type", "").startswith("application/json"):
            return decode_form(body.decode())
        params = json.loads(body or b"{}")
    except ValueError as error:
        raise StripeError("Invalid request: the body cannot be read.") from error
    if not isinstance(params, dict):
        raise StripeError("Invalid request: the body is not an object.")
    return params
