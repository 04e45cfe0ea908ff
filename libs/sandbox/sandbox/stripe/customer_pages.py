"""Pages that Stripe hosts for customers: checkout and the portal, without scripts."""

from html import escape
from urllib.parse import parse_qs

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse

from sandbox.stripe import checkout, portal
from sandbox.stripe.api import Api
from sandbox.stripe.billing import items_of
from sandbox.stripe.control import ApiDep
from sandbox.stripe.customers import update_customer
from sandbox.stripe.errors import StripeError
from sandbox.stripe.lines import product_name
from sandbox.stripe.objects import StripeObject
from sandbox.stripe.pages import money, page
from sandbox.stripe.payment_methods import CARDS
from sandbox.stripe.store import Store
from sandbox.stripe.subscription_status import ENDED
from sandbox.stripe.subscription_updates import cancel_subscription, update_subscription

customer_pages = APIRouter(prefix="/pages")
_SEE_OTHER = 303


def _button(action: str, label: str, fields: str = "") -> str:
    return f'<form method="post" action="{escape(action)}">{fields}<button>{escape(label)}</button></form>'


def _card_choice() -> str:
    options = "".join(f"<option>{escape(name)}</option>" for name in CARDS)
    return f'<label>Card <select name="card">{options}</select></label> '


async def _field(request: Request, name: str, default: str) -> str:
    return parse_qs((await request.body()).decode()).get(name, [default])[0]


@customer_pages.get("/checkout/{session_id}", response_class=HTMLResponse)
async def show_checkout(session_id: str, api: ApiDep) -> HTMLResponse:
    """Render what is bought, and the form for a card."""
    session = api.store.get(checkout.KIND, session_id, in_path=True)
    if session["status"] != "open":
        return page("Checkout", f"<p>This session is {escape(session['status'])}.</p>")
    lines = "".join(
        f"<li>{escape(item['description'])}: {money(item['amount_total'], item['currency'])}</li>"
        for item in session["_items"]
    )
    pay = _button(f"{session_id}/complete", "Confirm", _card_choice())
    cancel = session["cancel_url"]
    back = f'<p><a href="{escape(cancel)}">Cancel</a></p>' if cancel else ""
    return page("Checkout", f"<ul>{lines}</ul>{pay}{back}")


@customer_pages.post("/checkout/{session_id}/complete", response_model=None)
async def complete_checkout(
    session_id: str, request: Request, api: ApiDep
) -> HTMLResponse | RedirectResponse:
    """Confirm, and lead to the success page; a card that refuses can be replaced by another."""
    card = await _field(request, "card", "pm_card_visa")
    try:
        session = checkout.complete(api.store, session_id, card)
    except StripeError as error:
        if error.type != "card_error":
            raise
        return page(
            "Checkout",
            f'<p>{escape(error.message)}</p><p><a href="../{escape(session_id)}">Try again</a></p>',
        )
    target = session["success_url"].replace("{CHECKOUT_SESSION_ID}", session_id)
    return RedirectResponse(target, _SEE_OTHER)


@customer_pages.get("/portal/{session_id}", response_class=HTMLResponse)
async def show_portal(session_id: str, api: ApiDep) -> HTMLResponse:
    """Render a customer's subscriptions and invoices."""
    session = api.store.get(portal.SESSION, session_id, in_path=True)
    features = _features(api.store, session)
    parts = [
        _show_subscription(api.store, session_id, subscription, features)
        for subscription in api.store.where("subscription", customer=session["customer"])
        if subscription["status"] not in ENDED
    ]
    if features["invoice_history"]["enabled"]:
        parts += [
            _show_invoice(invoice) for invoice in api.store.where("invoice", customer=session["customer"])
        ]
    if features["payment_method_update"]["enabled"]:
        parts.append(_button(f"{session_id}/card", "Use this card", _card_choice()))
    if session["return_url"]:
        parts.append(f'<p><a href="{escape(session["return_url"])}">Return</a></p>')
    return page("Billing", "".join(parts))


def _features(store: Store, session: StripeObject) -> StripeObject:
    features: StripeObject = store.table(portal.CONFIGURATION)[session["configuration"]]["features"]
    return features


def _show_subscription(
    store: Store, session_id: str, subscription: StripeObject, features: StripeObject
) -> str:
    names = ", ".join(product_name(store, item) for item in items_of(subscription))
    summary = f"<p>{escape(names)}: {escape(subscription['status'])}</p>"
    if not features["subscription_cancel"]["enabled"]:
        return summary
    ends = subscription["cancel_at_period_end"]
    action, label = ("resume", "Do not cancel") if ends else ("cancel", "Cancel subscription")
    return summary + _button(f"{session_id}/{subscription['id']}/{action}", label)


def _show_invoice(invoice: StripeObject) -> str:
    if not invoice["hosted_invoice_url"]:
        return ""
    text = f"{invoice['number']}: {money(invoice['total'], invoice['currency'])}"
    return f'<p><a href="{escape(invoice["hosted_invoice_url"])}">{escape(text)}</a></p>'


def _session_with(api: Api, session_id: str, feature: str) -> StripeObject:
    session = api.store.get(portal.SESSION, session_id, in_path=True)
    if not _features(api.store, session)[feature]["enabled"]:
        raise StripeError(f"The portal's configuration does not allow {feature}.")
    return session


@customer_pages.post("/portal/{session_id}/card")
async def change_card(session_id: str, request: Request, api: ApiDep) -> RedirectResponse:
    """Make another card the customer's default."""
    session = _session_with(api, session_id, "payment_method_update")
    card = await _field(request, "card", "pm_card_visa")
    settings = {"invoice_settings": {"default_payment_method": card}}
    update_customer(api.store, settings, session["customer"])
    return RedirectResponse(f"../{session_id}", _SEE_OTHER)


@customer_pages.post("/portal/{session_id}/{subscription_id}/{action}")
async def end_or_keep(session_id: str, subscription_id: str, action: str, api: ApiDep) -> RedirectResponse:
    """Cancel a subscription as the configuration says, or take it back."""
    session = _session_with(api, session_id, "subscription_cancel")
    subscription = api.store.get("subscription", subscription_id, in_path=True)
    if subscription["customer"] != session["customer"] or action not in {"cancel", "resume"}:
        raise StripeError("There is no such action.", status=404)
    if action == "cancel" and _features(api.store, session)["subscription_cancel"]["mode"] == "immediately":
        cancel_subscription(api.store, {}, subscription_id)
    else:
        update_subscription(api.store, {"cancel_at_period_end": action == "cancel"}, subscription_id)
    return RedirectResponse(f"../../{session_id}", _SEE_OTHER)
