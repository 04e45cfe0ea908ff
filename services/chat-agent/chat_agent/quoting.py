"""Data in the input of a model: lines of JSON in a block between tags, which no line can end."""

import orjson

# What could end a line or the block, as JSON may write it.
ESCAPES = {ord(one): f"\\u{ord(one):04x}" for one in "<\x85\u2028\u2029"}


def quoted_line(value: object) -> str:
    """Encode a value as one line of JSON."""
    return orjson.dumps(value).decode().translate(ESCAPES)
