"""`expand[]`: ids in an answer become the objects that they name."""

from collections.abc import Callable

from sandbox.stripe.errors import StripeError
from sandbox.stripe.objects import StripeObject, public
from sandbox.stripe.store import Store

_MAX_DEPTH = 4
# What is only there when it is expanded, by kind and name.
Includable = Callable[[Store, StripeObject], StripeObject | list[StripeObject] | None]


def expand(
    store: Store,
    answer: StripeObject,
    paths: list[str],
    includables: dict[tuple[str, str], Includable],
) -> StripeObject:
    """Return an answer with these paths expanded; a path that cannot be is refused."""
    for path in paths:
        keys = path.split(".")
        if len([key for key in keys if key != "data"]) > _MAX_DEPTH:
            raise StripeError(
                f"You cannot expand more than {_MAX_DEPTH} levels of a property.", param="expand"
            )
        _expand(store, answer, keys, path, includables)
    return answer


def _expand(
    store: Store,
    here: StripeObject,
    keys: list[str],
    path: str,
    includables: dict[tuple[str, str], Includable],
) -> None:
    first, *rest = keys
    if first not in here and (include := includables.get((here.get("object", ""), first))):
        here[first] = public(include(store, here))
    if first not in here:
        is_list = here.get("object") == "list"
        raise _not_expandable(
            path, f" You may want to try expanding 'data.{path}' instead." if is_list else ""
        )
    value = here[first]
    if isinstance(value, str):
        here[first] = value = _resolve(store, value, path)
    for item in value if isinstance(value, list) else [value]:
        if rest and isinstance(item, dict):
            _expand(store, item, rest, path, includables)
    if not rest and not isinstance(value, dict | list | None):
        raise _not_expandable(path)


def _not_expandable(path: str, hint: str = "") -> StripeError:
    return StripeError(f"This property cannot be expanded ({path}).{hint}", param="expand[0]")


def _resolve(store: Store, object_id: str, path: str) -> StripeObject:
    obj = store.find(object_id)
    if obj is None:
        raise _not_expandable(path)
    copy: StripeObject = public(obj)
    return copy
