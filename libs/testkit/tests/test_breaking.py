"""Changes of contracts, told apart: those that break somebody, and those that do not."""

import copy
from typing import Annotated, Any, Literal

import pytest
from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict, Field, create_model
from testkit.openapi_diff import breaking_changes, declares_break


class Pet(BaseModel):
    """A tree of them, to try references that go in circles."""

    model_config = ConfigDict(extra="forbid")

    name: Annotated[str, Field(max_length=20)]
    kind: Literal["cat", "dog"] = "cat"
    age: int | None = None
    tags: list[str] = []
    young: list["Pet"] = []
    notes: dict[str, int] = {}


def with_field(name: str, kind: Any, default: Any = ..., base: type[BaseModel] = Pet) -> type[BaseModel]:
    return create_model("Pet", __base__=base, **{name: (kind, default)})


def without_field(name: str) -> type[BaseModel]:
    fields = {key: (field.annotation, field) for key, field in Pet.model_fields.items() if key != name}
    return create_model("Pet", __config__=ConfigDict(extra="forbid"), **fields)


def document(taken: type = Pet, given: type = Pet, *, limit: Any = int, path: str = "/pets", version="0.1.0"):
    """The document of an app that takes one thing and gives another."""
    app = FastAPI(version=version)

    def add(pet, limit=1):
        return pet

    add.__annotations__ = {"pet": taken, "limit": limit, "return": given}
    app.post(path)(add)
    return app.openapi()


ADD = "POST /pets"


@pytest.mark.parametrize(
    ("change", "sentences"),
    [
        ({"path": "/animals"}, [f"{ADD} is gone"]),
        ({"taken": with_field("owner", str)}, [f"{ADD}: the body.owner is now required"]),
        ({"given": without_field("age")}, [f"{ADD}: the 200 answer.age is gone"]),
        ({"taken": without_field("age")}, [f"{ADD}: the body.age is gone"]),
        (
            {"taken": with_field("kind", Literal["cat"], "cat")},
            [f'{ADD}: the body.kind no longer takes "dog"'],
        ),
        ({"given": with_field("kind", Literal["cat", "dog", "fox"], "cat")}, ['may now be "fox"']),
        ({"taken": with_field("age", int, 1)}, ["the body.age no longer takes null"]),
        ({"given": with_field("name", str | None, ...)}, ["the 200 answer.name may now be null"]),
        ({"taken": with_field("name", int)}, ["the body.name was string and is integer"]),
        ({"given": with_field("name", int)}, ["the 200 answer.name was string and is integer"]),
        ({"taken": with_field("name", Annotated[str, Field(max_length=9)])}, ["maxLength was 20 and is 9"]),
        ({"given": with_field("name", Annotated[str, Field(max_length=99)])}, ["maxLength was 20 and is 99"]),
        (
            {"taken": with_field("name", Annotated[str, Field(max_length=20, min_length=1)])},
            ["minLength was open"],
        ),
        ({"taken": with_field("tags", list[int], [])}, ["the body.tags[] was string and is integer"]),
        (
            {"taken": with_field("notes", dict[str, bool], {})},
            ["the body.notes.* was integer and is boolean"],
        ),
        ({"limit": Annotated[int, Field(le=5)]}, ["the query parameter limit: maximum was open and is 5"]),
        ({"limit": bool}, ["the query parameter limit was integer and is boolean"]),
    ],
)
def test_tells_what_breaks_somebody(change, sentences):
    found = breaking_changes(document(), document(**change))

    assert found
    for sentence in sentences:
        assert any(sentence in one for one in found), found


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"taken": with_field("owner", str | None, None)},
        {"given": with_field("owner", str)},
        {"taken": with_field("kind", Literal["cat", "dog", "fox"], "cat")},
        {"given": with_field("kind", Literal["cat"], "cat")},
        {"taken": with_field("age", float | None, None)},
        {"given": with_field("age", int, 1)},
        {"taken": with_field("name", Annotated[str, Field(max_length=99)])},
        {"given": with_field("name", Annotated[str, Field(max_length=9, min_length=1)])},
        {"taken": with_field("name", str, "nobody")},
        {"limit": int | str},
    ],
)
def test_lets_pass_what_breaks_nobody(change):
    # Only one side is looked at: a model of both is in the answer too.
    assert breaking_changes(document(), document(**change)) == []


def changed(edit) -> list[str]:
    old = document()
    new = copy.deepcopy(old)
    edit(new["paths"]["/pets"]["post"])
    return breaking_changes(old, new)


def test_tells_what_breaks_around_the_schemas():
    required = {"in": "header", "name": "X-Why", "required": True, "schema": {"type": "string"}}
    assert changed(lambda post: post["parameters"].append(required)) == [
        f"{ADD}: the header parameter X-Why is now required"
    ]
    assert changed(lambda post: post["parameters"].clear()) == [f"{ADD}: the query parameter limit is gone"]
    assert changed(lambda post: post["responses"].pop("200")) == [f"{ADD}: the 200 answer is gone"]
    assert changed(lambda post: post["responses"].pop("422")) == []
    assert changed(lambda post: post["responses"]["200"].update(content={"text/plain": {}})) == [
        f"{ADD}: the 200 answer is no longer application/json"
    ]
    old = document()
    del old["paths"]["/pets"]["post"]["requestBody"]["required"]
    assert breaking_changes(old, document()) == [f"{ADD}: the body is now required"]


def test_an_added_path_breaks_nobody():
    old, new = document(), document()
    new["paths"] |= document(path="/animals")["paths"]

    assert breaking_changes(old, new) == []


def test_an_event_keeps_all_its_fields():
    class Left(BaseModel):
        who: str
        why: Literal["quit", "removed"]
        at: int | None

    class Later(Left):
        more: str = ""

    class Narrower(Left):
        why: Literal["quit"]

    class Wider(Left):
        why: Literal["quit", "removed", "expired"]

    class Optional(Left):
        who: str = ""

    def schema(model):
        return model.model_json_schema(mode="serialization")

    def validated(model):
        return model.model_json_schema()

    old = schema(Left)
    assert breaking_changes(old, schema(Later)) == []
    assert breaking_changes(old, schema(Narrower)) == []
    assert breaking_changes(old, schema(Wider)) == ['the event.why may now be "expired"']
    assert breaking_changes(old, validated(Optional)) == ["the event.who may now be left out"]
    without = {
        **old,
        "properties": {key: old["properties"][key] for key in ("who", "why")},
        "required": ["who", "why"],
    }
    assert breaking_changes(old, without) == ["the event.at is gone"]


@pytest.mark.parametrize(
    ("before", "after", "admits"),
    [
        ("0.1.0", "0.1.1", False),
        ("0.1.0", "0.2.0", True),
        ("0.9", "1.0", True),
        ("1.4.0", "1.5.0", False),
        ("1.4.0", "2.0.0", True),
        ("2.0.0", "1.9.0", False),
    ],
)
def test_a_version_admits_that_it_breaks_something(before, after, admits):
    assert declares_break(document(version=before), document(version=after)) is admits
