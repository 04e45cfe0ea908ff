"""Stripe in one process: an ASGI app that the official SDK talks to through `base_addresses`."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from fastapi import FastAPI, Request, Response

from sandbox.stripe import (
    charges,
    checkout,
    customers,
    entitlements,
    event_destinations,
    events,
    invoice_items,
    invoice_operations,
    meter_adjustments,
    meter_events,
    meters,
    payment_methods,
    payments,
    portal,
    prices,
    products,
    setup_intents,
    subscription_item_operations,
    subscription_updates,
    subscriptions,
    thin_events,
    webhook_endpoints,
)
from sandbox.stripe.api import Api
from sandbox.stripe.billing_clock import run_due, seconds_until_due
from sandbox.stripe.control import control
from sandbox.stripe.customer_pages import customer_pages
from sandbox.stripe.delivery import Deliverer
from sandbox.stripe.errors import StripeError
from sandbox.stripe.expansion import Includable
from sandbox.stripe.objects import new_id
from sandbox.stripe.operations import Operations
from sandbox.stripe.pages import pages
from sandbox.stripe.snapshot import load, save
from sandbox.stripe.store import Store

_RESOURCES = (
    charges,
    checkout,
    customers,
    entitlements,
    event_destinations,
    events,
    invoice_items,
    invoice_operations,
    meter_adjustments,
    meter_events,
    meters,
    payment_methods,
    portal,
    prices,
    products,
    setup_intents,
    subscriptions,
    subscription_item_operations,
    subscription_updates,
    thin_events,
    webhook_endpoints,
)
_INCLUDABLES: dict[tuple[str, str], Includable] = {
    ("charge", "refunds"): charges.refunds_of,
    ("checkout.session", "line_items"): checkout.line_items_of,
    ("customer", "subscriptions"): customers.subscriptions_of,
    ("invoice", "confirmation_secret"): payments.confirmation_secret_of,
    ("invoice", "payments"): payments.payments_of,
    ("price", "tiers"): prices.tiers_of,
}
_PAUSE_SECONDS = 1.0
logger = logging.getLogger(__name__)


def create_stripe(data: Path | None = None) -> FastAPI:
    """Build Stripe's API; in its lifespan time passes and events are delivered.

    With a folder, what it holds outlives the process.
    """
    app = FastAPI(title="Acme sandbox Stripe", openapi_url=None, lifespan=_lifespan)
    operations = Operations.of(each for resource in _RESOURCES for each in resource.OPERATIONS)
    api = app.state.api = Api(Store(), operations, _INCLUDABLES)
    deliverer = app.state.deliverer = Deliverer(api.store, api.faults)
    api.store.on_event.append(deliverer.publish)
    app.state.snapshot = data / "stripe.json" if data else None
    if data:
        data.mkdir(parents=True, exist_ok=True)
        load(data / "stripe.json", api.store, api.keys)
    app.add_exception_handler(StripeError, _refuse)
    app.include_router(control)
    app.include_router(pages)
    app.include_router(customer_pages)
    app.add_api_route("/{path:path}", _answer, methods=["GET", "POST", "DELETE"])
    return app


async def _answer(request: Request) -> Response:
    api: Api = request.app.state.api
    return await api.answer(request)


def _refuse(_: Request, error: Exception) -> Response:
    known = error if isinstance(error, StripeError) else StripeError(str(error), type="api_error")
    return known.response(new_id("req", 14))


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    api: Api = app.state.api
    tasks = [
        asyncio.create_task(each) for each in (_keep_time(api, app.state.snapshot), app.state.deliverer.run())
    ]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if app.state.snapshot:
            save(app.state.snapshot, api.store, api.keys)


async def _keep_time(api: Api, snapshot: Path | None) -> None:
    """Do what is due when it is, and save what has changed; sleep in between."""
    store = api.store
    while True:
        try:
            run_due(store, store.now())
            seconds = seconds_until_due(store)
        except Exception:
            logger.exception("the Stripe sandbox could not do what was due")
            seconds = None
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await store.changed.wait()
        # One change seldom comes alone.
        await asyncio.sleep(_PAUSE_SECONDS)
        if store.changed.is_set():
            store.changed.clear()
            if snapshot:
                save(snapshot, store, api.keys)
