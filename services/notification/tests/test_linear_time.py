"""What others have written is read in linear time, whatever they have written."""

import notification
from notification import events, name_filter
from testkit.linear_time import Use, expressions, find_slow

# NFKC makes 18 characters of one.
OF_NAMES = 18 * name_filter.MAX_LENGTH
BOUNDED = {name: OF_NAMES for name, value in vars(name_filter).items() if hasattr(value, "search")}
FUNCTIONS = {
    "a name": Use(name_filter.safe_name, None),
    "the longest name": Use(name_filter.safe_name, name_filter.MAX_LENGTH),
    "an address": Use(events.masked_email, None),
    "a network": Use(events.masked_network, None),
    "keys": Use(events.describe_keys, None),
}


def test_takes_linear_time_for_the_worst_of_texts():
    assert find_slow(FUNCTIONS) == []


def test_every_expression_is_linear():
    assert find_slow(expressions(notification, BOUNDED)) == []
