"""How two definitions differ, member by member, and in lists element by element."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from difflib import SequenceMatcher

from pydantic import JsonValue

from chat_agent.agent_definitions.schemas import Change, ElementChange
from chat_agent.documents import PROPERTIES, canonical_json

Members = Mapping[str, JsonValue]
# An element of a list by what names it, and which of several with the same name it is.
Elements = dict[tuple[str, int], int]
# What tells elements of definitions apart, in this order.
NAMES = ("name", "server")


def changes_between(
    before: Members, after: Members, path: str = "", *, is_properties: bool = False
) -> Iterator[Change]:
    """Yield the members that differ; objects are compared member by member, lists also by elements.

    `is_properties`: the members are the properties of a schema.
    """
    if is_properties:
        yield from order_changes(before, after, path.removesuffix("."))
    for name in dict.fromkeys((*before, *after)):
        old, new, place = before.get(name), after.get(name), f"{path}{name}"
        if isinstance(old, dict) and isinstance(new, dict):
            are_properties = name == PROPERTIES and not is_properties
            yield from changes_between(old, new, f"{place}.", is_properties=are_properties)
        elif (name in before) != (name in after) or not is_same(old, new):
            yield Change(path=place, before=old, after=new, elements=[*element_changes(old, new, place)])


def is_same(one: JsonValue, other: JsonValue) -> bool:
    """Return whether two values are the same in JSON, where 1 is neither 1.0 nor true."""
    return canonical_json(one) == canonical_json(other)


def order_changes(before: Members, after: Members, path: str) -> Iterator[Change]:
    """Yield which properties of a schema stand in another order, in which models answer."""
    moved = [one for one in element_changes([*before], [*after], path) if one.change == "moved"]
    if moved:
        yield Change(path=path, before=dict(before), after=dict(after), elements=moved)


def element_changes(before: JsonValue, after: JsonValue, path: str) -> Iterator[ElementChange]:
    """Yield what became of the elements of a list; nothing where some of them have no name."""
    # A list that is left out is empty.
    before, after = before or [], after or []
    if not isinstance(before, list) or not isinstance(after, list):
        return
    old, new = positions(before), positions(after)
    if old is None or new is None:
        return
    moved = moved_elements(old, new)
    for key in dict.fromkeys((*old, *new)):
        place = {"name": key[0], "index_before": old.get(key), "index_after": new.get(key)}
        if key not in new or key not in old:
            yield ElementChange(change="added" if key in new else "removed", **place)
            continue
        changes = [*inner_changes(before[old[key]], after[new[key]], f"{path}[{new[key]}].")]
        if changes:
            yield ElementChange(change="changed", **place, changes=changes)
        if key in moved:
            yield ElementChange(change="moved", **place)


def positions(elements: Sequence[JsonValue]) -> Elements | None:
    """Return where each element stands by its name, or none where some have no name."""
    seen, found = Counter[str](), Elements()
    for index, element in enumerate(elements):
        name = name_of(element)
        if name is None:
            return None
        found[name, seen[name]] = index
        seen[name] += 1
    return found


def name_of(element: JsonValue) -> str | None:
    """Return what tells an element of a list apart: a text is its own name."""
    if isinstance(element, str):
        return element
    named = element if isinstance(element, dict) else {}
    names = (value for one in NAMES if isinstance(value := named.get(one), str))
    return next(names, None)


def inner_changes(old: JsonValue, new: JsonValue, path: str) -> Iterator[Change]:
    """Yield how an element differs from the one of the same name; texts do not."""
    if isinstance(old, dict) and isinstance(new, dict):
        yield from changes_between(old, new, path)


def moved_elements(old: Elements, new: Elements) -> set[tuple[str, int]]:
    """Return the elements that stand in another order among those that are in both lists."""
    before, after = [key for key in old if key in new], [key for key in new if key in old]
    blocks = SequenceMatcher(None, before, after, autojunk=False).get_matching_blocks()
    return {*before} - {key for block in blocks for key in before[block.a : block.a + block.size]}
