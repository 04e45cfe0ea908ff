"""Lists of objects: newest first, by pages, filtered by what they were asked for."""

from collections.abc import Iterable

from sandbox.stripe.errors import StripeError, missing_object
from sandbox.stripe.objects import Params, StripeObject

_DEFAULT_LIMIT, _MAX_LIMIT = 10, 100


def page(
    objects: list[StripeObject],
    params: Params,
    url: str,
    everything: Iterable[StripeObject] | None = None,
) -> StripeObject:
    """Return one page of objects that are given oldest first; Stripe lists the newest first.

    A cursor may be one of `everything` that the other parameters leave out.
    """
    limit = _limit(params)
    places = {obj["id"]: place for place, obj in enumerate(objects if everything is None else everything)}
    newest_first = objects[::-1]
    if cursor := params.get("ending_before"):
        place = _place(places, cursor, "ending_before")
        newer = [obj for obj in newest_first if places[obj["id"]] > place]
        data, has_more = newer[-limit:], len(newer) > limit
    else:
        cursor = params.get("starting_after")
        place = _place(places, cursor, "starting_after") if cursor else len(places)
        older = [obj for obj in newest_first if places[obj["id"]] < place]
        data, has_more = older[:limit], len(older) > limit
    return {"object": "list", "data": data, "has_more": has_more, "url": url}


def _limit(params: Params) -> int:
    limit: int = params.get("limit", _DEFAULT_LIMIT)
    if not 1 <= limit <= _MAX_LIMIT:
        raise StripeError(f"Invalid limit: must be between 1 and {_MAX_LIMIT}", param="limit")
    if "starting_after" in params and "ending_before" in params:
        message = "You may only specify one of these parameters: starting_after, ending_before."
        raise StripeError(message, "parameters_exclusive")
    return limit


def _place(places: dict[str, int], object_id: str, param: str) -> int:
    if object_id not in places:
        raise missing_object("object", object_id, param)
    return places[object_id]


def matches(obj: StripeObject, params: Params, *names: str) -> bool:
    """Whether an object has the members that the parameters of the same names ask for."""
    return all(obj.get(name) == params[name] for name in names if name in params)


def in_range(value: int, bounds: int | dict[str, int] | None) -> bool:
    """Whether a time is what `created` and the like ask for."""
    if bounds is None:
        return True
    if isinstance(bounds, int):
        return value == bounds
    return (
        value > bounds.get("gt", value - 1)
        and value >= bounds.get("gte", value)
        and value < bounds.get("lt", value + 1)
        and value <= bounds.get("lte", value)
    )
