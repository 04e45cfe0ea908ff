"""What is due, in the order in which it is due."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from sandbox.stripe.billing import period_of
from sandbox.stripe.checkout import KIND as SESSION
from sandbox.stripe.checkout import expire
from sandbox.stripe.collection import advance, collect
from sandbox.stripe.objects import StripeObject
from sandbox.stripe.renewals import (
    announce_invoice,
    announce_trial_end,
    expire_first_payment,
    finish,
    renew,
    resume_collection,
)
from sandbox.stripe.store import Store

_DAY = 24 * 3600
_FIRST_PAYMENT_WITHIN = 23 * 3600
_ANNOUNCE_INVOICE = 7 * _DAY
_ANNOUNCE_TRIAL_END = 3 * _DAY

Act = Callable[[Store, StripeObject], object]
Schedule = Iterator[tuple[int, Act]]


@dataclass(frozen=True)
class Job:
    """Something to do to an object at a time."""

    moment: int
    act: Act
    obj: StripeObject

    @property
    def still_stands(self) -> bool:
        """Whether it is still to be done, after what was done before it."""
        return (self.moment, self.act) in list(_SCHEDULES[self.obj["object"]](self.obj))


def advance_clock(store: Store, seconds: int) -> int:
    """Move the time forward, doing all that is due on the way; returns the new time."""
    target = store.now() + seconds
    run_due(store, target)
    store.offset += seconds
    store.touch()
    return target


def run_due(store: Store, until: int) -> None:
    """Do what is due, each thing at its time."""
    moment = 0
    while jobs := [job for job in _jobs(store) if job.moment <= until]:
        jobs.sort(key=lambda job: job.moment)
        # What one job makes due is due after at least this time, so that these can be done in one go.
        end = jobs[0].moment + store.rules.finalize_after
        for job in jobs:
            if job.moment <= end and job.still_stands:
                moment = max(moment, job.moment)
                with store.at(moment):
                    job.act(store, job.obj)


def seconds_until_due(store: Store) -> float | None:
    """Return how long nothing is due; None if that will not change by itself."""
    moment = min((job.moment for job in _jobs(store)), default=None)
    return None if moment is None else max(0, moment - store.now())


def _jobs(store: Store) -> Iterator[Job]:
    for kind, schedule in _SCHEDULES.items():
        for obj in store.table(kind).values():
            for moment, act in schedule(obj):
                yield Job(moment, act, obj)


def _of_subscription(subscription: StripeObject) -> Schedule:
    status = subscription["status"]
    if status == "incomplete":
        yield subscription["created"] + _FIRST_PAYMENT_WITHIN, expire_first_payment
    if status not in {"active", "trialing", "past_due", "unpaid"}:
        return
    start, end = period_of(subscription)
    ends = subscription["cancel_at_period_end"]
    if (moment := subscription["cancel_at"]) and not ends:
        yield moment, finish
    if status == "trialing" and not subscription.get("_trial_end_announced"):
        yield (
            max(subscription["trial_end"] - _ANNOUNCE_TRIAL_END, subscription["trial_start"]),
            announce_trial_end,
        )
    is_long = end - _ANNOUNCE_INVOICE > start
    if is_long and not ends and subscription.get("_announced_period") != end:
        yield end - _ANNOUNCE_INVOICE, announce_invoice
    if resumes_at := (subscription["pause_collection"] or {}).get("resumes_at"):
        yield resumes_at, resume_collection
    yield end, renew


def _of_invoice(invoice: StripeObject) -> Schedule:
    if invoice["status"] == "draft" and invoice["automatically_finalizes_at"] and invoice["auto_advance"]:
        yield invoice["automatically_finalizes_at"], advance
    if invoice["status"] == "open" and invoice["next_payment_attempt"]:
        yield invoice["next_payment_attempt"], collect


def _of_session(session: StripeObject) -> Schedule:
    if session["status"] == "open":
        yield session["expires_at"], expire


_SCHEDULES: dict[str, Callable[[StripeObject], Schedule]] = {
    "subscription": _of_subscription,
    "invoice": _of_invoice,
    SESSION: _of_session,
}
