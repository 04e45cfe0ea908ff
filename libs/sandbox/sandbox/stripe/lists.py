"""Lists of objects: newest first, by pages, filtered by what they were asked for."""

from sandbox.stripe.errors import StripeError, missing_object
from sandbox.stripe.objects import Params, StripeObject

_DEFAULT_LIMIT, _MAX_LIMIT = 10, 100


def page(objects: list[StripeObject], params: Params, url: str) -> StripeObject:
    """Return one page of objects that are given oldest first; Stripe lists the newest first."""
    limit = params.get("limit", _DEFAULT_LIMIT)
    if not 1 <= limit <= _MAX_LIMIT:
        raise StripeError(f"Invalid limit: must be between 1 and {_MAX_LIMIT}", param="limit")
    if "starting_after" in params and "ending_before" in params:
        message = "You may only specify one of these parameters: starting_after, ending_before."
        raise StripeError(message, "parameters_exclusive")
    newest_first = objects[::-1]
    if cursor := params.get("ending_before"):
        newer = newest_first[: _position(newest_first, cursor, "ending_before")]
        data, has_more = newer[-limit:], len(newer) > limit
    else:
        cursor = params.get("starting_after")
        start = _position(newest_first, cursor, "starting_after") + 1 if cursor else 0
        data, has_more = newest_first[start : start + limit], len(newest_first) > start + limit
    return {"object": "list", "data": data, "has_more": has_more, "url": url}


def _position(objects: list[StripeObject], object_id: str, param: str) -> int:
    for position, obj in enumerate(objects):
        if obj["id"] == object_id:
            return position
    raise missing_object("object", object_id, param)


def matches(obj: StripeObject, params: Params, *names: str) -> bool:
    """Whether an object has the members that the parameters of the same names ask for."""
    return all(obj.get(name) == params[name] for name in names if name in params)


def in_range(value: int, wanted: int | dict[str, int] | None) -> bool:
    """Whether a time is what `created` and the like ask for."""
    if wanted is None:
        return True
    if isinstance(wanted, int):
        return value == wanted
    return (
        value > wanted.get("gt", value - 1)
        and value >= wanted.get("gte", value)
        and value < wanted.get("lt", value + 1)
        and value <= wanted.get("lte", value)
    )
