"""Reads of a tenant's subscription, invoices and payment methods, and previews of what a change costs."""

from typing import Annotated, Any
from uuid import UUID

import stripe
from pydantic import Field, TypeAdapter
from servicekit import pagination
from sqlalchemy import select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession

from billing_webhook.models import Invoice
from billing_webhook.services import BillingServices
from billing_webhook.stripe_errors import to_problem
from billing_webhook.subscriptions import customers, execution, invoice_links, prices, schemas, sync
from billing_webhook.subscriptions.errors import InvoiceNotFound, SubscriptionNotFound
from billing_webhook.subscriptions.state import at, id_of

# When an invoice was created, and its id.
POSITION = TypeAdapter(tuple[pagination.Moment, Annotated[str, Field(pattern=r"^\w+$")]])


async def describe(db: AsyncSession, tenant_id: UUID) -> schemas.SubscriptionView:
    """Return a tenant's subscription."""
    row = await sync.current(db, tenant_id)
    return schemas.SubscriptionView.of(tenant_id, row, await customers.find(db, tenant_id))


async def list_invoices(
    services: BillingServices, tenant_id: UUID, limit: int, cursor: str | None
) -> tuple[list[Invoice], str | None]:
    """List a tenant's invoices, the newest first; drafts are not shown."""
    order = (Invoice.created_at, Invoice.stripe_invoice_id)
    query = select(Invoice).where(Invoice.tenant_id == tenant_id, Invoice.status != "draft")
    if cursor is not None:
        query = query.where(tuple_(*order) < tuple_(*pagination.read_cursor(cursor, POSITION, str, str)))
    page = query.order_by(*(column.desc() for column in order)).limit(limit + 1)
    async with services.database.begin() as db:
        rows = (await db.scalars(page)).all()
        customer_ids = await invoice_links.find_customer_ids(db, tenant_id)
    await invoice_links.renew(services, customer_ids, rows[:limit])
    return [*rows[:limit]], pagination.next_cursor(rows, limit, "created_at", "stripe_invoice_id")


async def get_invoice(services: BillingServices, tenant_id: UUID, invoice_id: str) -> Invoice:
    """Return an invoice of a tenant; raises InvoiceNotFound."""
    query = select(Invoice).where(Invoice.tenant_id == tenant_id, Invoice.stripe_invoice_id == invoice_id)
    async with services.database.begin() as db:
        invoice: Invoice | None = await db.scalar(query)
        customer_ids = await invoice_links.find_customer_ids(db, tenant_id)
    if invoice is None:
        raise InvoiceNotFound
    await invoice_links.renew(services, customer_ids, [invoice])
    return invoice


async def preview(
    services: BillingServices, tenant_id: UUID, change: schemas.Preview
) -> schemas.InvoicePreview:
    """Return the invoice that a change would bring about.

    Raises SubscriptionNotFound, PlanNotFound or SeatLimitExceeded.
    """
    async with services.database.begin() as db:
        row = await sync.current(db, tenant_id)
    if row is None or row.stripe_subscription_id is None:
        raise SubscriptionNotFound
    plan = prices.paid_plan(change.plan_code or row.plan_code)
    prices.require_seats(plan, change.seat_count or row.seats)
    facts = {"items": row.items, "plan_code": row.plan_code, "seats": row.seats}
    details = await execution.plan_change(services, facts, change.plan_code, change.seat_count)
    return await create_preview(
        services, {"subscription": row.stripe_subscription_id, "subscription_details": details}
    )


async def upcoming(services: BillingServices, tenant_id: UUID) -> schemas.InvoicePreview:
    """Return a tenant's next invoice as it would be now; raises SubscriptionNotFound."""
    async with services.database.begin() as db:
        row = await sync.current(db, tenant_id)
    if row is None or row.stripe_subscription_id is None:
        raise SubscriptionNotFound
    return await create_preview(services, {"subscription": row.stripe_subscription_id})


async def create_preview(services: BillingServices, params: Any) -> schemas.InvoicePreview:
    """Have Stripe compute an invoice."""
    try:
        invoice = await services.stripe.v1.invoices.create_preview_async(params)
    except stripe.StripeError as error:
        raise to_problem(error) from error
    return schemas.InvoicePreview.model_validate(
        {
            "currency": invoice.currency,
            "total": invoice.total,
            "amount_due": invoice.amount_due,
            "period_start": at(invoice.period_start),
            "period_end": at(invoice.period_end),
            "lines": [line_values(line) for line in invoice.lines.data],
        }
    )


def line_values(line: stripe.InvoiceLineItem) -> dict[str, Any]:
    """Return the fields of a line."""
    details = line.parent.subscription_item_details if line.parent else None
    return {
        "description": line.description,
        "amount": line.amount,
        "period_start": at(line.period.start),
        "period_end": at(line.period.end),
        "is_proration": details is not None and details.proration,
    }


async def list_payment_methods(services: BillingServices, tenant_id: UUID) -> list[schemas.PaymentMethod]:
    """List a tenant's payment methods; a tenant without a customer has none."""
    async with services.database.begin() as db:
        row = await customers.find(db, tenant_id)
    if row is None:
        return []
    try:
        customer = await services.stripe.v1.customers.retrieve_async(row.stripe_customer_id)
        methods = await services.stripe.v1.customers.payment_methods.list_async(row.stripe_customer_id)
    except stripe.StripeError as error:
        raise to_problem(error) from error
    invoice_settings = customer.invoice_settings
    default = invoice_settings.default_payment_method if invoice_settings else None
    default_id = id_of(default) if default else None
    return [payment_method(method, default_id) for method in methods.data]


def payment_method(method: stripe.PaymentMethod, default: str | None) -> schemas.PaymentMethod:
    """Describe a payment method."""
    names = ("brand", "last4", "exp_month", "exp_year")
    card = {name: getattr(method.card, name) for name in names} if method.card else {}
    return schemas.PaymentMethod(id=method.id, type=method.type, is_default=method.id == default, **card)
