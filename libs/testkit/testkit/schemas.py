"""What a JSON Schema takes, and where in it something else can be put."""

from collections.abc import Iterator
from typing import Any, NamedTuple

Json = dict[str, Any]

UNKNOWN_ID = "00000000-0000-4000-8000-000000000000"
MAX_DEPTH = 4


class SchemaLocation(NamedTuple):
    """A place in a value: the way to it (a name, an index or the branch of a union), and its schema."""

    steps: tuple[str | int, ...]
    schema: Json

    @property
    def name(self) -> str:
        """The way to it, for people."""
        return ".".join(str(step) for step in self.steps if step != BRANCH) or "top"


# In the steps of a place: the next step is the number of a union's branch.
BRANCH = "|"


class Schemas:
    """The schemas of one OpenAPI document."""

    def __init__(self, document: Json) -> None:
        self._named = document.get("components", {}).get("schemas", {})

    def resolve(self, schema: Json) -> Json:
        """Follow a reference."""
        name = schema.get("$ref", "").rpartition("/")[2]
        return (
            {**self._named[name], **{key: schema[key] for key in schema if key != "$ref"}} if name else schema
        )

    def sample(self, schema: Json) -> Any:
        """Make a small value that fits, but for rules that a schema cannot tell."""
        schema = self.resolve(schema)
        if "const" in schema or schema.get("enum"):
            return schema.get("const", schema.get("enum", [None])[0])
        if branches := branches_of(schema):
            return self.sample(branches[0])
        if schema.get("type") == "object":
            return {name: self.sample(schema["properties"][name]) for name in schema.get("required", ())}
        if schema.get("type") == "array":
            return [self.sample(schema["items"])] * schema.get("minItems", 0)
        return sample_scalar(schema)

    def locations(self, schema: Json, steps: tuple[str | int, ...] = ()) -> Iterator[SchemaLocation]:
        """Walk all places of a value that are a list, an object, a union or anything at all."""
        schema = self.resolve(schema)
        if schema.get("type") in {"object", "array", None} and "const" not in schema and "enum" not in schema:
            yield SchemaLocation(steps, schema)
        if len([step for step in steps if isinstance(step, str) and step != BRANCH]) >= MAX_DEPTH:
            return
        for name, member in schema.get("properties", {}).items():
            yield from self.locations(member, (*steps, name))
        if schema.get("type") == "array":
            yield from self.locations(schema["items"], (*steps, 0))
        for index, branch in enumerate(branches_of(schema)):
            for place in self.locations(branch, (*steps, BRANCH, index)):
                # The branch itself is the place of the union.
                if len(place.steps) > len(steps) + 2:
                    yield place

    def with_value(self, schema: Json, steps: tuple[str | int, ...], value: Any) -> Any:
        """Make a value that fits but at one place."""
        if not steps:
            return value
        schema, (step, *rest) = self.resolve(schema), steps
        if step == BRANCH:
            return self.with_value(branches_of(schema)[int(rest[0])], tuple(rest[1:]), value)
        if isinstance(step, int):
            return [self.with_value(schema["items"], tuple(rest), value)]
        return {**self.sample(schema), step: self.with_value(schema["properties"][step], tuple(rest), value)}

    def unbounded(self, schema: Json, place: str) -> Iterator[str]:
        """Name the lists, mappings and texts that have no maximum."""
        schema = self.resolve(schema)
        kind, extra = schema.get("type"), schema.get("additionalProperties")
        if kind == "array":
            if "maxItems" not in schema:
                yield f"{place}: a list without maxItems"
            yield from self.unbounded(schema["items"], f"{place}[]")
        if kind == "object" and isinstance(extra, dict) and extra and "maxProperties" not in schema:
            yield f"{place}: a mapping without maxProperties"
        if kind == "string" and not is_bounded_text(schema):
            yield f"{place}: a text without maxLength"
        for name, member in schema.get("properties", {}).items():
            yield from self.unbounded(member, f"{place}.{name}")
        for branch in branches_of(schema):
            yield from self.unbounded(branch, place)


def branches_of(schema: Json) -> list[Json]:
    """List what a union is of; null comes last."""
    branches = schema.get("anyOf") or schema.get("oneOf") or schema.get("allOf") or []
    return sorted(branches, key=lambda branch: branch.get("type") == "null")


def sample_scalar(schema: Json) -> Any:
    """Make a text, a number, or whatever else is no list and no object of known members."""
    kind = schema.get("type")
    if kind == "string":
        return sample_text(schema)
    return {"boolean": True, "null": None, "integer": schema.get("minimum", 1)}.get(str(kind), {})


def sample_text(schema: Json) -> str:
    """Make a text that fits."""
    if schema.get("examples"):
        return str(schema["examples"][0])
    formats = {"uuid": UNKNOWN_ID, "date-time": "2030-01-02T03:04:05Z", "email": "ann@example.com"}
    fallback: str = "x" * max(1, schema.get("minLength", 1))
    return formats.get(str(schema.get("format")), fallback)


def is_bounded_text(schema: Json) -> bool:
    """Return whether a text has an end, or can only be one of a few."""
    closed = {"enum", "const", "maxLength"} & schema.keys()
    return bool(closed) or schema.get("format") in {"uuid", "date-time"} or is_bounded_pattern(schema)


def is_bounded_pattern(schema: Json) -> bool:
    """Return whether a text's pattern, from its beginning to its end, has no repetition without a maximum."""
    pattern = schema.get("pattern", "")
    is_anchored = pattern.startswith("^") and pattern.endswith("$")
    return is_anchored and not any(endless in pattern for endless in ("*", "+", ",}"))
