"""Time passes by itself too."""

import time
from itertools import count
from types import SimpleNamespace

import httpx
import pytest
from sandbox.stripe import store
from stripe import StripeClient
from testkit.eventually import until

from .conftest import Clock
from .factories import a_subscription

HOUR = 3600
DAY = 24 * HOUR


def test_a_trial_ends_without_a_hand_on_the_clock(stripe: StripeClient, clock: Clock) -> None:
    subscription = a_subscription(stripe, trial_end=clock.now() + HOUR)
    clock.advance(hours=(subscription.trial_end - clock.now() - 2) / HOUR)
    until(lambda: stripe.v1.subscriptions.retrieve(subscription.id).status != "trialing", interval=0.1)
    assert stripe.v1.subscriptions.retrieve(subscription.id).status == "active"


def test_the_clock_moves_only_forward(http: httpx.Client) -> None:
    assert http.post("/_ctl/clock", json={"advance": -1}).status_code == 422
    before = http.get("/_ctl/clock").json()["now"]
    assert http.post("/_ctl/clock", json={"advance": 60}).json()["now"] >= before + 60


def test_a_request_happens_at_one_time_however_long_it_takes(
    stripe: StripeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = count(int(time.time()))
    monkeypatch.setattr(store, "time", SimpleNamespace(time=lambda: next(seconds)))
    subscription = a_subscription(stripe, trial_period_days=1)
    assert subscription.trial_end == subscription.created + DAY == subscription.trial_start + DAY
