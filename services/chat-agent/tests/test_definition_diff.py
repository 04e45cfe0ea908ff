"""How two definitions differ: members, and the elements of lists."""

from typing import Any

import pytest
from chat_agent.agent_definitions.diff import changes_between
from chat_agent.agent_definitions.schemas import ElementChange
from chat_agent.documents import digest_of

Json = dict[str, Any]


def tools(*names: str, **more: Any) -> list[Json]:
    return [{"name": name, **more} for name in names]


def element(change: str, name: str, before: int | None, after: int | None, *changes: Json) -> Json:
    return {
        "change": change,
        "name": name,
        "index_before": before,
        "index_after": after,
        "changes": [*changes],
    }


def change(path: str, before: Any, after: Any) -> Json:
    return {"path": path, "before": before, "after": after}


LISTS: dict[str, tuple[str, Any, Any, list[Json]]] = {
    "added": ("handoffs", ["a"], ["b", "a"], [element("added", "b", None, 0)]),
    "the whole list added": ("tools", None, tools("a"), [element("added", "a", None, 0)]),
    "removed": ("tools", tools("a", "b", "c"), tools("a", "c"), [element("removed", "b", 1, None)]),
    "the whole list removed": ("starters", ["Hi"], None, [element("removed", "Hi", 0, None)]),
    "moved": ("as_tools", ["a", "b", "c", "d"], ["d", "a", "b", "c"], [element("moved", "d", 3, 0)]),
    "changed": (
        "tools",
        tools("a", "b"),
        [*tools("a"), *tools("b", approval="always")],
        [element("changed", "b", 1, 1, change("tools[1].approval", None, "always"))],
    ),
    "changed and moved": (
        "tools",
        tools("a", "b", "c"),
        [*tools("c", approval="always"), *tools("a", "b")],
        [
            element("changed", "c", 2, 0, change("tools[0].approval", None, "always")),
            element("moved", "c", 2, 0),
        ],
    ),
    "by the name of a server, and within it": (
        "mcp",
        [{"server": "shop", "allow": ["echo"]}],
        [{"server": "shop", "allow": ["echo", "pay"]}],
        [
            element(
                "changed",
                "shop",
                0,
                0,
                change("mcp[0].allow", ["echo"], ["echo", "pay"])
                | {"elements": [element("added", "pay", None, 1)]},
            )
        ],
    ),
    "the same text twice": ("starters", ["Hi", "Hi"], ["Hi"], [element("removed", "Hi", 1, None)]),
    "without names": ("anyOf", [{"type": "string"}], [{"type": "null"}], []),
    "with and without names": ("anyOf", ["a"], [1], []),
    "no list any more": ("type", ["string", "null"], "string", []),
}


@pytest.mark.parametrize("name", LISTS)
def test_lists_differ_by_their_elements(name: str) -> None:
    path, before, after, elements = LISTS[name]
    old, new = [{path: value} if value is not None else {} for value in (before, after)]
    (changes,) = changes_between(old, new)
    expected = change(path, before, after) | ({"elements": elements} if elements else {})
    assert changes.model_dump() == expected


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"enum": [1]}, {"enum": [True]}),
        ({"enum": [1]}, {"enum": [1.0]}),
        ({"const": 1}, {"const": 1.0}),
        ({"default": None}, {}),
    ],
)
def test_values_that_are_not_the_same_in_json_differ(before: Json, after: Json) -> None:
    assert len([*changes_between(before, after)]) == len([*changes_between(after, before)]) == 1
    assert not [*changes_between(before, before)]


def test_properties_of_a_schema_differ_by_their_order() -> None:
    before, after = [
        {"output_schema": {"properties": {"row": {"properties": {name: {} for name in names}}}}}
        for names in (["reasoning", "answer", "old"], ["answer", "new", "reasoning"])
    ]
    path = "output_schema.properties.row.properties"
    assert {one.path: [*one.elements] for one in changes_between(before, after)} == {
        f"{path}.old": [],
        f"{path}.new": [],
        path: [ElementChange(change="moved", name="answer", index_before=1, index_after=0)],
    }
    assert not [*changes_between(before, before)]


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        ({"properties": {"b": {}, "a": {}}}, {"properties": {"a": {}, "b": {}}}, False),
        ([{"properties": {"b": {}, "a": {}}}], [{"properties": {"a": {}, "b": {}}}], False),
        ({"type": "object", "title": "T"}, {"title": "T", "type": "object"}, True),
        # A property that is called so is a schema, whose own members have no order.
        (
            {"properties": {"properties": {"type": "object", "title": "T"}}},
            {"properties": {"properties": {"title": "T", "type": "object"}}},
            True,
        ),
    ],
)
def test_digests_differ_by_the_order_of_properties_alone(one: Any, other: Any, is_same: bool) -> None:
    assert (digest_of(one) == digest_of(other)) is is_same
    assert ([*changes_between({"schema": one}, {"schema": other})] == []) is is_same


def test_variables_differ_by_name() -> None:
    before = {"variables": {"a": {}, "b": {"type": "integer"}}}
    after = {"variables": {"b": {"type": "number"}, "c": {}}}
    changes = {one.path: (one.before, one.after) for one in changes_between(before, after)}
    assert changes == {
        "variables.a": ({}, None),
        "variables.b.type": ("integer", "number"),
        "variables.c": (None, {}),
    }
