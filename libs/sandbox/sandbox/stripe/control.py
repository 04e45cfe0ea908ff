"""What tests and people do to the sandbox that nobody can do to Stripe: time, rules, faults."""

from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, ConfigDict, Field

from sandbox.stripe import charges, checkout
from sandbox.stripe.api import Api, base_url
from sandbox.stripe.billing_clock import advance_clock
from sandbox.stripe.delivery import Deliverer
from sandbox.stripe.errors import StripeError
from sandbox.stripe.faults import Faults
from sandbox.stripe.invoice_operations import authenticate
from sandbox.stripe.objects import StripeObject, public
from sandbox.stripe.store import RequestContext
from sandbox.stripe.thin_events import thin_event

_MAX_SECONDS = 10 * 366 * 24 * 3600


def get_api(request: Request) -> Api:
    """Return the API, and let links that are made now lead here."""
    api: Api = request.app.state.api
    api.store.context = RequestContext(base_url=base_url(request))
    if request.method != "GET":
        api.store.touch()
    return api


ApiDep = Annotated[Api, Depends(get_api)]
control = APIRouter(prefix="/_ctl")


class Advance(BaseModel):
    """How far the clock moves."""

    model_config = ConfigDict(extra="forbid")
    advance: int = Field(ge=0, le=_MAX_SECONDS)


class RuleChange(BaseModel):
    """The rules that change; see `Rules`."""

    model_config = ConfigDict(extra="forbid")
    finalize_after: int | None = Field(default=None, ge=0)
    retry_days: tuple[float, ...] | None = None
    after_dunning: Literal["canceled", "unpaid", "past_due"] | None = None
    delivery_retries: tuple[float, ...] | None = None
    delivery_timeout: float | None = Field(default=None, gt=0)
    delivery_concurrency: int | None = Field(default=None, ge=1, le=100)


class EventRequest(BaseModel):
    """An event to publish, of an object that exists or is given."""

    model_config = ConfigDict(extra="forbid")
    type: str
    id: str | None = None
    object: StripeObject | None = None
    data: StripeObject | None = None  # of a thin event


@control.get("/clock")
async def show_clock(api: ApiDep) -> dict[str, int]:
    """Return the time."""
    return {"now": api.store.now(), "offset": api.store.offset}


@control.post("/clock")
async def move_clock(change: Advance, api: ApiDep) -> dict[str, int]:
    """Move the time forward, and do all that is due on the way."""
    return {"now": advance_clock(api.store, change.advance), "offset": api.store.offset}


@control.post("/rules")
async def change_rules(change: RuleChange, api: ApiDep) -> StripeObject:
    """Change when invoices are finalized and retried, what follows, and how events are delivered."""
    for name, value in change.model_dump(exclude_none=True).items():
        setattr(api.store.rules, name, value)
    return dict(vars(api.store.rules))


@control.post("/faults", status_code=201)
async def add_faults(faults: Faults, api: ApiDep) -> Faults:
    """Queue faults of answers and of deliveries."""
    api.faults.add(faults)
    return Faults(api=list(api.faults.api), deliveries=list(api.faults.deliveries))


@control.delete("/faults", status_code=204)
async def clear_faults(api: ApiDep) -> None:
    """Drop the faults that are left."""
    api.faults.clear()


@control.post("/payment_intents/{intent_id}/authenticate")
async def pass_authentication(intent_id: str, api: ApiDep) -> StripeObject:
    """Pass the bank's authentication, as the customer would."""
    return _public(authenticate(api.store, intent_id))


@control.post("/charges/{charge_id}/dispute", status_code=201)
async def dispute_charge(
    charge_id: str,
    api: ApiDep,
    reason: Literal["fraudulent", "product_not_received", "general"] = "fraudulent",
) -> StripeObject:
    """Dispute a charge, as the card's owner would."""
    return _public(charges.open_dispute(api.store, charge_id, reason))


@control.post("/disputes/{dispute_id}/close")
async def decide_dispute(
    dispute_id: str, api: ApiDep, status: Literal["won", "lost"] = "lost"
) -> StripeObject:
    """Decide a dispute, as the bank would."""
    return _public(charges.close_dispute(api.store, dispute_id, status))


class Completion(BaseModel):
    """The card that a customer enters at checkout."""

    model_config = ConfigDict(extra="forbid")
    payment_method: str = "pm_card_visa"


@control.post("/checkout/{session_id}/complete")
async def complete_checkout(
    session_id: str, api: ApiDep, completion: Completion | None = None
) -> StripeObject:
    """Complete a checkout session, as its customer would on the page."""
    card = (completion or Completion()).payment_method
    return _public(checkout.complete(api.store, session_id, card))


@control.post("/events", status_code=201)
async def publish_event(event: EventRequest, api: ApiDep) -> StripeObject:
    """Publish an event that nothing here causes: `charge.refunded`, or a thin one (`v1.…`, `v2.…`)."""
    obj = event.object or api.store.find(event.id or "")
    if event.type.startswith(("v1.", "v2.")):
        kind = obj["object"] if obj and event.id else None
        thin = api.store.insert(thin_event(api.store, event.type, kind, event.id, event.data))
        api.store.announce(thin)
        return _public(thin)
    if obj is None:
        raise StripeError("Name an existing object by its id, or give one.", param="id", status=404)
    return _public(api.store.emit(event.type, obj))


def _public(obj: StripeObject) -> StripeObject:
    return dict(public(obj))


@control.get("/deliveries")
async def list_deliveries(request: Request, event: str | None = None) -> list[StripeObject]:
    """List the attempts to deliver, oldest first; those of one event, or all."""
    deliverer: Deliverer = request.app.state.deliverer
    return [each for each in deliverer.log if event in {None, each["event"]}]
