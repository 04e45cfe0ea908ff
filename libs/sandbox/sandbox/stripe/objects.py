"""Stripe's objects as plain dictionaries, and what all of them have in common."""

import copy
import secrets
import string
from typing import Any

# Objects are as deep and as mixed as Stripe's documents, so their values are not typed further.
StripeObject = dict[str, Any]
Lines = list[StripeObject]
Period = tuple[int, int]
Params = dict[str, Any]

API_VERSION = "2026-10-28.endive"
_ALPHABET = string.ascii_letters + string.digits


def new_id(prefix: str, length: int = 24) -> str:
    """Return a random id with Stripe's prefix for its kind, without the underscore."""
    return f"{prefix}_" + "".join(_ALPHABET[byte % len(_ALPHABET)] for byte in secrets.token_bytes(length))


def new_object(defaults: StripeObject, **members: Any) -> StripeObject:
    """Return an object of these members, and of those that every new one of its kind has."""
    return copy.deepcopy(defaults) | members


def public(value: Any) -> Any:
    """Return a copy without the sandbox's own members, whose names begin with an underscore."""
    if isinstance(value, dict):
        return {key: public(item) for key, item in value.items() if not key.startswith("_")}
    if isinstance(value, list):
        return [public(item) for item in value]
    return value


def embedded_list(url: str, data: list[StripeObject] | None = None) -> StripeObject:
    """Return a list as it stands inside another object."""
    data = data or []
    return {"object": "list", "data": data, "has_more": False, "total_count": len(data), "url": url}


def merge_metadata(current: dict[str, str], change: dict[str, str] | str) -> dict[str, str]:
    """Return metadata with changes: an empty value removes its key, an empty text all keys."""
    if not isinstance(change, dict):
        return {}
    return {key: value for key, value in {**current, **change}.items() if value}


def assign(obj: StripeObject, params: Params, *names: str) -> None:
    """Set members from parameters of the same name where they are given; an empty text unsets."""
    for name in names:
        if name in params:
            obj[name] = None if params[name] == "" else params[name]
    if "metadata" in params:
        obj["metadata"] = merge_metadata(obj.get("metadata") or {}, params["metadata"])


def previous_attributes(before: StripeObject, after: StripeObject) -> StripeObject:
    """Return the former values of what has changed, as an event's `previous_attributes`."""
    changes: StripeObject = {}
    for key in before.keys() | after.keys():
        old, new = before.get(key), after.get(key)
        if old == new:
            continue
        if isinstance(old, dict) and isinstance(new, dict) and old.get("object") != "list":
            changes[key] = previous_attributes(old, new)
        else:
            changes[key] = old
    return changes
