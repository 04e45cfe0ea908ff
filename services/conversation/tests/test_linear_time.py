"""What people write is read in linear time, whatever they write."""

import conversation
from conversation import schemas, sdk_items
from pydantic import TypeAdapter
from testkit.linear_time import Use, expressions, find_slow

FUNCTIONS = {
    "a text": Use(schemas.validate_storable, None),
    "an item": Use(lambda text: schemas.validate_json({text: [text]}), None),
    "what is said": Use(lambda text: sdk_items.message_text({"role": "user", "content": text}), None),
    "a title": Use(TypeAdapter(schemas.Title).validate_python, None),
    "a query": Use(TypeAdapter(schemas.Query).validate_python, None),
    "an id": Use(TypeAdapter(schemas.ItemId).validate_python, None),
}


def test_takes_linear_time_for_the_worst_of_texts():
    assert find_slow({**FUNCTIONS, **expressions(conversation)}) == []
