"""Headers, tokens and cursors are read in linear time, whatever they are."""

import servicekit
from servicekit import client_ip, request_limits, schemas, validation_errors
from servicekit.auth import api_keys, jose
from testkit.linear_time import Use, expressions, find_slow

FUNCTIONS = {
    "an address": Use(client_ip.canonical, None),
    "a part of a token": Use(jose.decode, None),
    "a header of a token": Use(lambda text: jose.parse_object(text.encode()), None),
    "an API key": Use(api_keys.parse_key_id, None),
    "a cursor": Use(lambda text: schemas.decode_cursor(text, str), None),
    "a body": Use(lambda text: request_limits.check_json(text.encode(errors="replace")), None),
    "a text in an error": Use(lambda text: validation_errors.truncate(text, 48), None),
}


def test_takes_linear_time_for_the_worst_of_texts():
    assert find_slow(FUNCTIONS) == []


def test_every_expression_is_linear():
    found = expressions(servicekit)
    assert len(found) > 6
    assert find_slow(found) == []
