"""Stripe in one process: an ASGI app that the official SDK talks to through `base_addresses`."""

from fastapi import FastAPI, Request, Response

from sandbox.stripe import (
    customers,
    events,
    payment_methods,
    prices,
    products,
    setup_intents,
    webhook_endpoints,
)
from sandbox.stripe.api import Api
from sandbox.stripe.expansion import Includable
from sandbox.stripe.operations import Operations
from sandbox.stripe.store import Store

_RESOURCES = (customers, events, payment_methods, prices, products, setup_intents, webhook_endpoints)
_INCLUDABLES: dict[tuple[str, str], Includable] = {("customer", "subscriptions"): customers.subscriptions_of}


def create_stripe() -> FastAPI:
    """Build Stripe's API."""
    app = FastAPI(title="Acme sandbox Stripe", openapi_url=None)
    operations = Operations.of(each for resource in _RESOURCES for each in resource.OPERATIONS)
    app.state.api = Api(Store(), operations, _INCLUDABLES)
    app.add_api_route("/{path:path}", _answer, methods=["GET", "POST", "DELETE"])
    return app


async def _answer(request: Request) -> Response:
    api: Api = request.app.state.api
    return await api.answer(request)
