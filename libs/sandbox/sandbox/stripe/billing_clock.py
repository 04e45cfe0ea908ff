"""What is due, in the order in which it is due."""

from collections.abc import Callable, Iterator

from sandbox.stripe.billing import period_of
from sandbox.stripe.collection import advance, collect
from sandbox.stripe.objects import StripeObject
from sandbox.stripe.renewals import announce_invoice, announce_trial_end, finish, renew, resume_collection
from sandbox.stripe.store import Store
from sandbox.stripe.subscription_status import end_subscription

_DAY = 24 * 3600
_FIRST_PAYMENT_WITHIN = 23 * 3600
_ANNOUNCE_INVOICE = 7 * _DAY
_ANNOUNCE_TRIAL_END = 3 * _DAY

Job = tuple[int, Callable[[], object]]


def advance_clock(store: Store, seconds: int) -> int:
    """Move the time forward, doing all that is due on the way; returns the new time."""
    target = store.now() + seconds
    run_due(store, target)
    store.offset += seconds
    store.is_dirty = True
    return target


def run_due(store: Store, until: int) -> None:
    """Do what is due, each thing at its time."""
    moment = 0
    while job := min((job for job in _jobs(store) if job[0] <= until), key=lambda job: job[0], default=None):
        moment = max(moment, job[0])
        with store.at(moment):
            job[1]()


def _jobs(store: Store) -> Iterator[Job]:
    for subscription in store.table("subscription").values():
        yield from _jobs_of_subscription(store, subscription)
    for invoice in store.table("invoice").values():
        yield from _jobs_of_invoice(store, invoice)
    for session in store.where("checkout.session", status="open"):
        yield session["expires_at"], lambda session=session: _expire(store, session)  # type: ignore[misc]


def _jobs_of_subscription(store: Store, subscription: StripeObject) -> Iterator[Job]:
    status = subscription["status"]
    if status == "incomplete":
        yield (
            subscription["created"] + _FIRST_PAYMENT_WITHIN,
            lambda: end_subscription(store, subscription, "expired"),
        )
    if status not in {"active", "trialing", "past_due", "unpaid"}:
        return
    start, end = period_of(subscription)
    if (moment := subscription["cancel_at"]) and not subscription["cancel_at_period_end"]:
        yield moment, lambda: finish(store, subscription)
    if status == "trialing" and not subscription.get("_trial_end_announced"):
        moment = max(subscription["trial_end"] - _ANNOUNCE_TRIAL_END, subscription["trial_start"])
        yield moment, lambda: announce_trial_end(store, subscription)
    if end - _ANNOUNCE_INVOICE > start and subscription.get("_announced_period") != end:
        yield end - _ANNOUNCE_INVOICE, lambda: announce_invoice(store, subscription)
    if resumes_at := (subscription["pause_collection"] or {}).get("resumes_at"):
        yield resumes_at, lambda: resume_collection(store, subscription)
    yield end, lambda: renew(store, subscription)


def _jobs_of_invoice(store: Store, invoice: StripeObject) -> Iterator[Job]:
    if invoice["status"] == "draft" and invoice["automatically_finalizes_at"] and invoice["auto_advance"]:
        yield invoice["automatically_finalizes_at"], lambda: advance(store, invoice)
    if invoice["status"] == "open" and invoice["next_payment_attempt"]:
        yield invoice["next_payment_attempt"], lambda: collect(store, invoice)


def _expire(store: Store, session: StripeObject) -> None:
    with store.updating(session):
        session["status"] = "expired"
    store.emit("checkout.session.expired", session)
