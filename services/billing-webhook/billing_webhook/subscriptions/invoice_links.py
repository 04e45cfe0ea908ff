"""Links to the page and the PDF of an invoice: Stripe's expire, and it returns new ones at every read."""

import logging
from collections.abc import Sequence
from uuid import UUID

import stripe
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from billing_webhook.models import Customer, Invoice
from billing_webhook.services import BillingServices
from billing_webhook.stripe_errors import facts

logger = logging.getLogger(__name__)

PAGE = 100


async def find_customer_ids(db: AsyncSession, tenant_id: UUID) -> Sequence[str]:
    """Return the customers that a tenant has or had."""
    ids = select(Customer.stripe_customer_id).where(Customer.tenant_id == tenant_id)
    return (await db.scalars(ids)).all()


async def renew(services: BillingServices, customers: Sequence[str], invoices: Sequence[Invoice]) -> None:
    """Add links to invoices that are valid for ten days; the stored ones while Stripe does not answer.

    The rows belong to no session: nothing is stored.
    """
    if not invoices:
        return
    by_id = {invoice.stripe_invoice_id: invoice for invoice in invoices}
    times = [int(invoice.created_at.timestamp()) for invoice in invoices]
    try:
        for customer in customers:
            for current in await list_current(services, customer, min(times), max(times)):
                if invoice := by_id.get(current.id):
                    invoice.hosted_invoice_url = current.hosted_invoice_url
                    invoice.invoice_pdf = current.invoice_pdf
    except stripe.StripeError as error:
        logger.warning("links of invoices were not renewed", extra=facts(error))


async def list_current(
    services: BillingServices, customer: str, first: int, last: int
) -> list[stripe.Invoice]:
    """Return the invoices of a customer that were created in that time; raises StripeError."""
    page = await services.stripe.v1.invoices.list_async(
        {"customer": customer, "created": {"gte": first, "lte": last}, "limit": PAGE},
        {"max_network_retries": 0},
    )
    return [invoice async for invoice in page.auto_paging_iter()]
