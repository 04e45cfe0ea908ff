"""What is sent is read in linear time, whatever is sent."""

import billing_webhook
from billing_webhook.stripe_events import receive
from testkit.linear_time import Use, expressions, find_slow

FUNCTIONS = {
    "a signature": Use(receive.is_recent, None),
    "a signature to be compared": Use(lambda text: receive.is_signed(b"{}", text, "whsec"), None),
}


def test_takes_linear_time_for_the_worst_of_texts():
    assert find_slow({**FUNCTIONS, **expressions(billing_webhook)}) == []
