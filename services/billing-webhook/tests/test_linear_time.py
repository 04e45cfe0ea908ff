"""What is sent is read in linear time, whatever is sent."""

import contextlib

import billing_webhook
from billing_webhook.errors import InvalidSignature
from billing_webhook.stripe_events import verify
from testkit.linear_time import Use, expressions, find_slow


def read_timestamp(signature):
    with contextlib.suppress(InvalidSignature):
        verify.timestamp_of(signature)


FUNCTIONS = {
    "a signature": Use(read_timestamp, None),
    "a signature to be compared": Use(lambda text: verify.is_signed(b"{}", text, "whsec", 300), None),
}


def test_takes_linear_time_for_the_worst_of_texts():
    assert find_slow({**FUNCTIONS, **expressions(billing_webhook)}) == []
