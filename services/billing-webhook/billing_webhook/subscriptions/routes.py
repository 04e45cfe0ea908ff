"""HTTP routes of subscriptions."""

from typing import Any
from uuid import UUID

import stripe
from fastapi import APIRouter, Response, status
from servicekit.auth.tokens import Principal
from servicekit.database import Session
from servicekit.idempotency import REPLAYED
from servicekit.schemas import Cursor, Limit, Page

from billing_webhook.dependencies import BillingReader, billing_enabled, require_own_tenant
from billing_webhook.models import Command, CommandState
from billing_webhook.services import BillingServices
from billing_webhook.stripe_errors import to_problem
from billing_webhook.subscriptions import checkout, commands, schemas, subscriptions
from billing_webhook.subscriptions.dependencies import IdempotencyKey, RecentManager, Services

router = APIRouter(
    prefix="/api/v1/billing/tenants/{tenant_id}", tags=["subscriptions"], dependencies=[billing_enabled]
)


async def execute(  # noqa: PLR0913, PLR0917  # who wants what, where
    services: BillingServices,
    caller: Principal,
    tenant_id: UUID,
    kind: str,
    arguments: dict[str, Any],
    key: str | None,
    response: Response,
) -> Command:
    """Store a command and execute it; one that has succeeded before is not executed again."""
    require_own_tenant(caller, tenant_id)
    async with services.database.begin() as db:
        command = await commands.store(db, tenant_id, caller.subject, kind, arguments, key)
    if command.state == CommandState.SUCCEEDED:
        response.headers[REPLAYED] = "true"
    return await commands.execute(services, command)


async def change_subscription_by(*what: Any) -> schemas.SubscriptionView:
    """Execute a command, and return the subscription as it is then."""
    services, _, tenant_id, *_ = what
    await execute(*what)
    async with services.database.begin() as db:
        return await subscriptions.describe(db, tenant_id)


@router.get("/subscription")
async def get_subscription(tenant_id: UUID, caller: BillingReader, db: Session) -> schemas.SubscriptionView:
    """Return a tenant's subscription."""
    require_own_tenant(caller, tenant_id)
    return await subscriptions.describe(db, tenant_id)


@router.post("/subscription", status_code=status.HTTP_201_CREATED)
async def start_subscription(  # noqa: PLR0913, PLR0917  # FastAPI names what it passes
    tenant_id: UUID,
    body: schemas.SubscriptionStart,
    caller: RecentManager,
    services: Services,
    response: Response,
    key: IdempotencyKey = None,
) -> schemas.SubscriptionView:
    """Start a subscription, with the plan's trial if the tenant had none before."""
    arguments = body.model_dump(mode="json")
    return await change_subscription_by(services, caller, tenant_id, "start", arguments, key, response)


@router.patch("/subscription")
async def change_subscription(  # noqa: PLR0913, PLR0917
    tenant_id: UUID,
    body: schemas.SubscriptionChange,
    caller: RecentManager,
    services: Services,
    response: Response,
    key: IdempotencyKey = None,
) -> schemas.SubscriptionView:
    """Change plan, seats, renewal or billing address; plan and seats are billed at once, in part."""
    arguments = body.model_dump(mode="json")
    return await change_subscription_by(services, caller, tenant_id, "change", arguments, key, response)


@router.post("/subscription/cancel")
async def cancel_subscription(  # noqa: PLR0913, PLR0917
    tenant_id: UUID,
    caller: RecentManager,
    services: Services,
    response: Response,
    body: schemas.Cancellation | None = None,
    key: IdempotencyKey = None,
) -> schemas.SubscriptionView:
    """Cancel the subscription at the end of its period, or at once."""
    arguments = (body or schemas.Cancellation()).model_dump(mode="json")
    return await change_subscription_by(services, caller, tenant_id, "cancel", arguments, key, response)


@router.post("/subscription/pause")
async def pause_subscription(  # noqa: PLR0913, PLR0917
    tenant_id: UUID,
    caller: RecentManager,
    services: Services,
    response: Response,
    body: schemas.Pause | None = None,
    key: IdempotencyKey = None,
) -> schemas.SubscriptionView:
    """Stop collecting payments; the tenant can read, and begin nothing that costs."""
    resumes_at = body.resumes_at if body else None
    arguments = {"resumes_at": int(resumes_at.timestamp()) if resumes_at else None}
    return await change_subscription_by(services, caller, tenant_id, "pause", arguments, key, response)


@router.post("/subscription/resume")
async def resume_subscription(
    tenant_id: UUID,
    caller: RecentManager,
    services: Services,
    response: Response,
    key: IdempotencyKey = None,
) -> schemas.SubscriptionView:
    """Withdraw a cancellation that has not come into effect, or end a pause."""
    return await change_subscription_by(services, caller, tenant_id, "resume", {}, key, response)


@router.post("/subscription/preview")
async def preview_subscription(
    tenant_id: UUID, body: schemas.Preview, caller: BillingReader, services: Services
) -> schemas.InvoicePreview:
    """Return the invoice that a change of plan or seats would bring about now; nothing changes."""
    require_own_tenant(caller, tenant_id)
    return await subscriptions.preview(services, tenant_id, body)


@router.get("/upcoming-invoice")
async def get_upcoming_invoice(
    tenant_id: UUID, caller: BillingReader, services: Services
) -> schemas.InvoicePreview:
    """Return the next invoice as it would be now."""
    require_own_tenant(caller, tenant_id)
    return await subscriptions.upcoming(services, tenant_id)


@router.post("/checkout-sessions", status_code=status.HTTP_201_CREATED)
async def create_checkout_session(  # noqa: PLR0913, PLR0917
    tenant_id: UUID,
    body: schemas.CheckoutRequest,
    caller: RecentManager,
    services: Services,
    response: Response,
    key: IdempotencyKey = None,
) -> schemas.HostedPage:
    """Create a page of Stripe on which the tenant subscribes; earlier ones expire."""
    arguments = body.model_dump(mode="json")
    command = await execute(services, caller, tenant_id, "checkout", arguments, key, response)
    return schemas.HostedPage(url=command.facts["url"])


@router.post("/portal-sessions", status_code=status.HTTP_201_CREATED)
async def create_portal_session(
    tenant_id: UUID, body: schemas.PortalRequest, caller: RecentManager, services: Services
) -> schemas.HostedPage:
    """Create a page of Stripe on which the tenant changes cards, addresses and its subscription."""
    require_own_tenant(caller, tenant_id)
    try:
        return schemas.HostedPage(url=await checkout.open_portal(services, tenant_id, str(body.return_url)))
    except stripe.StripeError as error:
        raise to_problem(error) from error


@router.get("/payment-methods")
async def list_payment_methods(
    tenant_id: UUID, caller: BillingReader, services: Services
) -> schemas.PaymentMethods:
    """List the payment methods, without what would allow to use them."""
    require_own_tenant(caller, tenant_id)
    return schemas.PaymentMethods(items=await subscriptions.list_payment_methods(services, tenant_id))


@router.get("/invoices")
async def list_invoices(
    tenant_id: UUID, caller: BillingReader, db: Session, limit: Limit = 20, cursor: Cursor = None
) -> Page[schemas.InvoiceView]:
    """List the invoices, the newest first."""
    require_own_tenant(caller, tenant_id)
    rows, following = await subscriptions.list_invoices(db, tenant_id, limit, cursor)
    return Page(items=[schemas.InvoiceView.of(row) for row in rows], next_cursor=following)


@router.get("/invoices/{invoice_id}")
async def get_invoice(
    tenant_id: UUID, invoice_id: str, caller: BillingReader, db: Session
) -> schemas.InvoiceView:
    """Return an invoice with the links to its page and PDF."""
    require_own_tenant(caller, tenant_id)
    return schemas.InvoiceView.of(await subscriptions.get_invoice(db, tenant_id, invoice_id))
