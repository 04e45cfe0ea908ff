"""Time passes by itself too."""

import httpx
from stripe import StripeClient
from testkit.eventually import until

from .conftest import Clock
from .factories import a_subscription


def test_a_trial_ends_without_a_hand_on_the_clock(stripe: StripeClient, clock: Clock) -> None:
    subscription = a_subscription(stripe, trial_end=clock.now() + 2)
    until(lambda: stripe.v1.subscriptions.retrieve(subscription.id).status != "trialing", interval=0.1)
    assert stripe.v1.subscriptions.retrieve(subscription.id).status == "active"


def test_the_clock_moves_only_forward(http: httpx.Client) -> None:
    assert http.post("/_ctl/clock", json={"advance": -1}).status_code == 422
    before = http.get("/_ctl/clock").json()["now"]
    assert http.post("/_ctl/clock", json={"advance": 60}).json()["now"] >= before + 60
