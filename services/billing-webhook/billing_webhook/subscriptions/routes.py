"""HTTP routes of subscriptions."""

from uuid import UUID

from fastapi import APIRouter, status
from servicekit.database import Session
from servicekit.schemas import Cursor, Limit, Page

from billing_webhook.audit import Actor
from billing_webhook.dependencies import BillingReader, billing_enabled, own_tenant
from billing_webhook.subscriptions import checkout, schemas, subscriptions
from billing_webhook.subscriptions.dependencies import (
    CommandRequestDep,
    IdempotencyKey,
    RecentManager,
    Services,
)

router = APIRouter(
    prefix="/api/v1/billing/tenants/{tenant_id}",
    tags=["subscriptions"],
    dependencies=[billing_enabled, own_tenant],
)


@router.get("/subscription")
async def get_subscription(tenant_id: UUID, _caller: BillingReader, db: Session) -> schemas.SubscriptionView:
    """Return a tenant's subscription."""
    return await subscriptions.describe(db, tenant_id)


@router.post("/subscription", status_code=status.HTTP_201_CREATED)
async def start_subscription(
    body: schemas.SubscriptionStart, request: CommandRequestDep
) -> schemas.SubscriptionView:
    """Start a subscription, with the plan's trial if the tenant had none before."""
    return await request.change("start", body.model_dump(mode="json"))


@router.patch("/subscription")
async def change_subscription(
    body: schemas.SubscriptionChange, request: CommandRequestDep
) -> schemas.SubscriptionView:
    """Change plan, seats, renewal or billing address; plan and seats are billed at once, in part."""
    return await request.change("change", body.model_dump(mode="json"))


@router.post("/subscription/cancel")
async def cancel_subscription(
    request: CommandRequestDep, body: schemas.Cancellation | None = None
) -> schemas.SubscriptionView:
    """Cancel the subscription at the end of its period, or at once."""
    return await request.change("cancel", (body or schemas.Cancellation()).model_dump(mode="json"))


@router.post("/subscription/pause")
async def pause_subscription(
    request: CommandRequestDep, body: schemas.Pause | None = None
) -> schemas.SubscriptionView:
    """Stop collecting payments; the tenant can read, and begin nothing that costs."""
    resumes_at = body.resumes_at if body else None
    arguments = {"resumes_at": int(resumes_at.timestamp()) if resumes_at else None}
    return await request.change("pause", arguments)


@router.post("/subscription/resume")
async def resume_subscription(request: CommandRequestDep) -> schemas.SubscriptionView:
    """Withdraw a cancellation that has not come into effect, or end a pause."""
    return await request.change("resume", {})


@router.post("/subscription/preview")
async def preview_subscription(
    tenant_id: UUID, body: schemas.Preview, _caller: BillingReader, services: Services
) -> schemas.InvoicePreview:
    """Return the invoice that a change of plan or seats would bring about now; nothing changes."""
    return await subscriptions.preview(services, tenant_id, body)


@router.get("/upcoming-invoice")
async def get_upcoming_invoice(
    tenant_id: UUID, _caller: BillingReader, services: Services
) -> schemas.InvoicePreview:
    """Return the next invoice as it would be now."""
    return await subscriptions.upcoming(services, tenant_id)


@router.post("/checkout-sessions", status_code=status.HTTP_201_CREATED)
async def create_checkout_session(
    body: schemas.CheckoutRequest, request: CommandRequestDep
) -> schemas.HostedPage:
    """Create a page of Stripe on which the tenant subscribes; earlier ones expire."""
    command = await request.execute("checkout", body.model_dump(mode="json"))
    return schemas.HostedPage(url=command.facts["url"])


@router.post("/portal-sessions", status_code=status.HTTP_201_CREATED)
async def create_portal_session(
    tenant_id: UUID,
    body: schemas.PortalRequest,
    caller: RecentManager,
    services: Services,
    key: IdempotencyKey = None,
) -> schemas.HostedPage:
    """Create a page of Stripe on which the tenant changes cards, addresses and its subscription."""
    url = await checkout.open_portal(services, Actor.of(caller), tenant_id, str(body.return_url), key)
    return schemas.HostedPage(url=url)


@router.get("/payment-methods")
async def list_payment_methods(
    tenant_id: UUID, _caller: BillingReader, services: Services
) -> schemas.PaymentMethods:
    """List the payment methods, without what would allow to use them."""
    return schemas.PaymentMethods(items=await subscriptions.list_payment_methods(services, tenant_id))


@router.get("/invoices")
async def list_invoices(
    tenant_id: UUID, _caller: BillingReader, services: Services, limit: Limit = 20, cursor: Cursor = None
) -> Page[schemas.InvoiceView]:
    """List the invoices, the newest first; their links are valid for ten days at least."""
    rows, following = await subscriptions.list_invoices(services, tenant_id, limit, cursor)
    return Page(items=[schemas.InvoiceView.of(row) for row in rows], next_cursor=following)


@router.get("/invoices/{invoice_id}")
async def get_invoice(
    tenant_id: UUID, invoice_id: str, _caller: BillingReader, services: Services
) -> schemas.InvoiceView:
    """Return an invoice with the links to its page and PDF, valid for ten days at least."""
    return schemas.InvoiceView.of(await subscriptions.get_invoice(services, tenant_id, invoice_id))
