"""Schemas of callers and tenants: what would take too long to validate is refused, or is no match."""

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import httpx
import pytest
from chat_agent.model.schema_validation import SchemaValidator, validator_of_tool

from .tenant_server import tool_problems
from .test_agent_definitions import problems

Json = dict[str, Any]
Person = Callable[..., httpx.Client]
# Each refers twice to the next: 2^40 schemas.
DOUBLING = {
    f"d{number}": {
        "oneOf": [{"$ref": f"#/$defs/d{number + 1}"}, {"allOf": [{"$ref": f"#/$defs/d{number + 1}"}]}]
    }
    for number in range(40)
}
MULTIPLYING = {
    "type": "object",
    "properties": {"value": {"$ref": "#/$defs/d0"}},
    "$defs": {**DOUBLING, "d40": {"type": "string"}},
}
TOO_LARGE = "With what its references lead to, it has more than 10000 parts."
ENDPOINT = {"url": "https://orders.example.com/v2"}


@pytest.fixture
def admin(person: Person) -> httpx.Client:
    return person(uuid4(), role="admin")


def test_schemas_of_tools_and_agents_do_not_multiply(admin: httpx.Client) -> None:
    tool = {"description": "Read.", "endpoint": {**ENDPOINT, "parameters": MULTIPLYING}}
    assert TOO_LARGE in tool_problems(admin, tool)["endpoint.parameters"]
    tool = {"description": "Read.", "endpoint": ENDPOINT, "approval": MULTIPLYING}
    assert TOO_LARGE in tool_problems(admin, tool)["approval"]
    assert TOO_LARGE in problems(admin, "support", output_schema=MULTIPLYING)["output_schema"]


def test_schemas_of_callers_do_not_multiply(ann: httpx.Client) -> None:
    function = {"name": "f", "parameters": MULTIPLYING}
    format_ = {"type": "json_schema", "json_schema": {"name": "a", "schema": MULTIPLYING}}
    for member in ({"response_format": format_}, {"tools": [{"type": "function", "function": function}]}):
        body = {"model": "triage", "messages": [{"role": "user", "content": "Hello"}], **member}
        response = ann.post("/v1/chat/completions", json=body)
        assert response.status_code == 400
        assert TOO_LARGE in response.json()["error"]["message"]


SELF: Json = {"$ref": "#"}
TREE = {"type": "object", "properties": {"left": SELF, "right": SELF, "value": {"type": "integer"}}}
WORDS = {"items": {"anyOf": [{"const": f"word {number}"} for number in range(1000)]}}


def nested(levels: int, value: object) -> object:
    for _ in range(levels):
        value = {"x": value}
    return value


@pytest.mark.parametrize(
    "schema",
    [
        {"oneOf": [{"properties": {"x": SELF}}, {"properties": {"x": {"allOf": [SELF]}}}]},
        {"type": "object", "patternProperties": {"x": SELF, "^x": SELF, "x$": SELF}},
        {"type": "object", "allOf": [{"properties": {"x": SELF}}, {"properties": {"x": SELF}}]},
    ],
)
def test_a_schema_that_refers_to_itself_is_validated_however_deep_the_value_is(schema: Json) -> None:
    mismatch = SchemaValidator(schema).mismatch(nested(200, 1))
    assert mismatch is not None
    assert mismatch.described("the value") == ""


def test_a_recursive_schema_works() -> None:
    validator = SchemaValidator(TREE)
    assert validator.mismatch({"left": {"right": {"value": 1}}}) is None
    assert validator.mismatch({"left": {"right": {"value": "one"}}}) is not None


def test_the_place_of_a_mismatch_is_named_where_it_is_soon_found() -> None:
    validator = SchemaValidator(WORDS)
    assert validator.mismatch(["word 1", "word 2"]) is None
    assert validator.mismatch(["word 1", "word"]) == ("1", "items/anyOf")
    assert validator.mismatch(["word"] * 1000) == ("", "")
    assert not validator.is_valid(["word 1"] * 50_000)
    assert validator.is_too_much(["word 1"] * 50_000)


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#name", "$defs": {"a": {"$anchor": "name"}}},
        {"$ref": "#/$defs/b", "$defs": {"b": {"$id": "https://example.com/b", "$ref": "#/c", "c": {}}}},
        {"$dynamicAnchor": "a", "items": {"$dynamicRef": "#a"}},
        {"$ref": "https://example.com/schema"},
        {"$ref": "#/$defs/none"},
    ],
)
def test_references_that_cannot_be_followed_are_refused(schema: Json) -> None:
    with pytest.raises(ValueError, match=r"."):
        SchemaValidator(schema)


def test_names_of_members_are_no_keywords() -> None:
    names = ("$ref", "$id", "enum", "const", "default", "definitions")
    schema = {"type": "object", "properties": {name: {"type": "string"} for name in names}}
    assert SchemaValidator(schema).is_valid(dict.fromkeys(names, "text"))


@pytest.mark.parametrize(
    "patterns",
    [
        [f"^{number}$" for number in range(101)],
        ["a" * 4001],
        ["(?i)" + "a" * 400],
        [r"\s" * 64],
        [r"\p{L}{1,100}"],
        [rf"\p{{L}}{{1,3}}{number}" for number in range(30)],
        ["(?!x)"],
    ],
)
@pytest.mark.parametrize("member", ["pattern", "patternProperties"])
def test_patterns_that_take_long_are_refused(member: str, patterns: list[str]) -> None:
    parts = [{member: one if member == "pattern" else {one: {}}} for one in patterns]
    with pytest.raises(ValueError, match="attern"):
        SchemaValidator({"properties": {"a": {"anyOf": parts}}})


def test_patterns_that_differ_are_what_counts() -> None:
    schema = {"properties": {f"p{number}": {"pattern": "^[a-z]{1,64}$"} for number in range(1000)}}
    assert SchemaValidator(schema).is_valid({"p1": "a"})
    assert not SchemaValidator(schema).is_valid({"p1": "A"})


LOOKING_AROUND = {"pattern": "(?!x)"}


@pytest.mark.parametrize(
    "schema",
    [
        {"properties": {"a": {"type": "string"}, "default": LOOKING_AROUND, "pattern": LOOKING_AROUND}},
        {"properties": {"a": {"type": "string"}}, "patternProperties": {"(?!x)": LOOKING_AROUND}},
        {
            "properties": {"a": {"$ref": "#/$defs/pattern"}},
            "$defs": {"pattern": {"type": "string", **LOOKING_AROUND}},
        },
    ],
)
def test_arguments_are_validated_without_the_patterns_that_are_not_matched_here(schema: Json) -> None:
    validator = validator_of_tool(schema)
    assert validator is not None
    assert validator.is_valid({"a": "x", "default": "x", "pattern": "x", "other": 1})
    assert not validator.is_valid({"a": 1})


@pytest.mark.parametrize("schema", [{"type": "thing"}, {"$ref": "#/none"}, {"pattern": "a" * 4001}])
def test_what_cannot_be_validated_here_is_left_to_the_tool(schema: Json) -> None:
    assert validator_of_tool(schema) is None
