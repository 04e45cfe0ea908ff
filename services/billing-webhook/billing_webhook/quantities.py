"""Quantities and amounts in JSON: exact decimal numbers, written as text."""

from decimal import Decimal
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, PlainSerializer, WithJsonSchema

DECIMAL_PLACES = 6
TEXT_SCHEMA = {"type": "string", "pattern": r"^-?\d+(\.\d+)?$", "examples": ["120", "0.25"]}
# A sign, a point, and more digits than any quantity has.
MAX_TEXT = 32
INPUT_SCHEMA: dict[str, Any] = {"anyOf": [{"type": "integer"}, {**TEXT_SCHEMA, "maxLength": MAX_TEXT}]}
SMALLEST = Decimal(1).scaleb(-DECIMAL_PLACES)


def to_text(number: Decimal) -> str:
    """Write a number without exponent and without zeros at its end."""
    text = format(number, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def exact(value: object) -> object:
    """Refuse JSON's fractions, which are not exact, and what is no decimal number."""
    if isinstance(value, bool) or not isinstance(value, int | str | Decimal):
        raise ValueError("must be an integer, or a decimal number as text")
    if isinstance(value, str) and len(value) > MAX_TEXT:
        raise ValueError(f"must have at most {MAX_TEXT} characters")
    return value


def rounded(number: Decimal) -> Decimal:
    """Round to the places that the database stores."""
    return number.quantize(SMALLEST)


# In an answer, and in a request.
Quantity = Annotated[
    Decimal, PlainSerializer(to_text, return_type=str, when_used="json"), WithJsonSchema(TEXT_SCHEMA)
]
ExactDecimal = Annotated[
    Decimal,
    BeforeValidator(exact),
    Field(max_digits=24, decimal_places=DECIMAL_PLACES, allow_inf_nan=False),
    WithJsonSchema(INPUT_SCHEMA),
]
