"""Pages for people: an invoice and its PDF."""

from html import escape

from fastapi import APIRouter, Response
from fastapi.responses import HTMLResponse

from sandbox.stripe.control import ApiDep
from sandbox.stripe.objects import StripeObject
from sandbox.stripe.pdf import text_pdf
from sandbox.stripe.store import Store

pages = APIRouter(prefix="/pages")
# Not form-action: browsers apply it to where a form redirects to, which is the application's own page.
_POLICY = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; img-src data:"}


def page(title: str, body: str) -> HTMLResponse:
    """Return a page without scripts."""
    head = f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(title)}</title>'
    head += '<meta name="viewport" content="width=device-width, initial-scale=1">'
    head += '<link rel="icon" href="data:,">'
    style = (
        "<style>:root{color-scheme:light dark}"
        "body{font:16px/1.5 system-ui;max-width:40rem;margin:2rem auto;padding:0 1rem}</style>"
    )
    content = f"<main><h1>{escape(title)}</h1>{body}</main>"
    return HTMLResponse(f"{head}{style}{content}", headers=_POLICY)


def money(amount: int, currency: str) -> str:
    """Return an amount as people read it."""
    sign = "-" if amount < 0 else ""
    return f"{sign}{abs(amount) // 100}.{abs(amount) % 100:02d} {currency.upper()}"


def _lines(store: Store, invoice: StripeObject) -> list[str]:
    currency = invoice["currency"]
    customer = store.table("customer")[invoice["customer"]]
    return [
        f"Invoice {invoice['number']}",
        f"For {customer.get('name') or customer.get('email') or customer['id']}",
        f"Status: {invoice['status']}",
        "",
        *(f"{line['description']}: {money(line['amount'], currency)}" for line in invoice["lines"]["data"]),
        "",
        f"Total: {money(invoice['total'], currency)}",
        f"Amount due: {money(invoice['amount_remaining'], currency)}",
    ]


@pages.get("/invoices/{invoice_id}", response_class=HTMLResponse)
async def show_invoice(invoice_id: str, api: ApiDep) -> HTMLResponse:
    """Render an invoice."""
    invoice = api.store.get("invoice", invoice_id, in_path=True)
    title, *lines = _lines(api.store, invoice)
    link = f'<p><a href="{escape(invoice["id"])}/pdf">PDF</a></p>'
    return page(title, "".join(f"<p>{escape(line)}</p>" for line in lines) + link)


@pages.get("/invoices/{invoice_id}/pdf")
async def download_invoice(invoice_id: str, api: ApiDep) -> Response:
    """Return an invoice as a PDF."""
    invoice = api.store.get("invoice", invoice_id, in_path=True)
    name = f'attachment; filename="{invoice["number"]}.pdf"'
    document = text_pdf(_lines(api.store, invoice))
    return Response(document, media_type="application/pdf", headers={"Content-Disposition": name})
