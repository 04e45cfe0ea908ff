"""Requests' bodies and queries: names with brackets become nested dictionaries."""

import re
from urllib.parse import parse_qsl

from sandbox.stripe.errors import StripeError
from sandbox.stripe.objects import Params

_NAME = re.compile(r"^([^\[\]]+)((?:\[[^\[\]]*\])*)$")
_MAX_DEPTH = 12


def decode_form(text: str) -> Params:
    """Decode `a[b][0]=c`; lists are dictionaries with indexes as keys, as only the types tell them apart."""
    params: Params = {}
    for name, value in parse_qsl(text, keep_blank_values=True, max_num_fields=2_000):
        _put(params, _split(name), value, name)
    return params


def _split(name: str) -> list[str]:
    match = _NAME.match(name)
    if match is None or name.count("[") > _MAX_DEPTH:
        raise StripeError(f"Invalid request: the parameter name {name} is malformed.")
    return [match[1], *re.findall(r"\[([^\[\]]*)\]", match[2])]


def _put(params: Params, path: list[str], value: str, name: str) -> None:
    *parents, last = path
    here = params
    for key in parents:
        here = here.setdefault(key or str(len(here)), {})
        if not isinstance(here, dict):
            raise StripeError(f"Invalid request: {name} is both a value and an object.", param=name)
    here[last or str(len(here))] = value
