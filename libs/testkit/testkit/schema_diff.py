"""Whether a new JSON Schema (2020-12, as pydantic writes it) still does for those who know the old one."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

Json = dict[str, Any]
S = TypeVar("S")

UPPER = ("maxLength", "maxItems", "maxProperties", "maximum", "exclusiveMaximum")
LOWER = ("minLength", "minItems", "minProperties", "minimum", "exclusiveMinimum")
EXACT = ("pattern", "format", "multipleOf", "uniqueItems", "prefixItems", "contentEncoding")


@dataclass(frozen=True)
class Comparison:
    """Schemas of two documents, and which way goes what they describe.

    Of what is sent to us, the new schema must take all that the old one gives; of what we send, the old one
    must take all that the new one gives. `plain` methods compare schemas without alternatives.
    """

    old: Json
    new: Json
    sent_to_us: bool

    def compare(self, old: Json, new: Json, where: str, seen: frozenset[str] = frozenset()) -> Iterator[str]:
        """List, in sentences, what the new schema breaks."""
        pair = json.dumps([old, new], sort_keys=True)
        if pair in seen:
            return
        before, after = alternatives(self.old, old), alternatives(self.new, new)
        giving, taking = self.by_role(before, after)
        for one in giving:
            differences = {
                index: [*self.plain(*self.by_role(one, other), where, seen | {pair})]
                for index, other in enumerate(taking)
            }
            if all(differences.values()):
                alike = [index for index, other in enumerate(taking) if kind(other) == kind(one)]
                only = [0] if len(before) == len(after) == 1 else alike
                yield from differences[only[0]] if len(only) == 1 else [f"{where} {self.refuses} {kind(one)}"]

    @property
    def refuses(self) -> str:
        """The words for a value that the other side does not know."""
        return "no longer takes" if self.sent_to_us else "may now be"

    def by_role(self, old: S, new: S) -> tuple[S, S]:
        """Return first the one that gives, then the one that takes; the same way back."""
        return (old, new) if self.sent_to_us else (new, old)

    def plain(self, old: Json, new: Json, where: str, seen: frozenset[str]) -> Iterator[str]:
        """Compare two schemas, and what is in them."""
        giving, taking = self.by_role(old, new)
        if kind(taking) not in {kind(giving), "anything"} and (kind(giving), kind(taking)) != (
            "integer",
            "number",
        ):
            yield f"{where} was {kind(old)} and is {kind(new)}"
            return
        yield from self.plain_values(giving, taking, where)
        yield from (
            f"{where}: {keyword} was {old.get(keyword, 'open')} and is {new.get(keyword, 'open')}"
            for keyword in narrowed(giving, taking)
        )
        yield from self.plain_fields(old, new, where, seen)
        if "items" in old and "items" in new:
            yield from self.compare(old["items"], new["items"], f"{where}[]", seen)

    def plain_values(self, giving: Json, taking: Json, where: str) -> Iterator[str]:
        """Compare lists of allowed values."""
        provided, accepted = values(giving), values(taking)
        if accepted is not None:
            unknown = (
                ["anything"] if provided is None else [value for value in provided if value not in accepted]
            )
            yield from (f"{where} {self.refuses} {value}" for value in unknown)

    def plain_fields(self, old: Json, new: Json, where: str, seen: frozenset[str]) -> Iterator[str]:
        """Compare the fields of objects."""
        before, after = old.get("properties", {}), new.get("properties", {})
        for name in before:
            if name in after:
                yield from self.compare(before[name], after[name], f"{where}.{name}", seen)
            else:
                yield f"{where}.{name} is gone"
        giving, taking = self.by_role(old, new)
        for name in set(taking.get("required", [])) - set(giving.get("required", [])):
            if self.sent_to_us:
                yield f"{where}.{name} is now required"
            elif name in after:
                yield f"{where}.{name} may now be left out"
        yield from self.plain_other_fields(old, new, where, seen)

    def plain_other_fields(self, old: Json, new: Json, where: str, seen: frozenset[str]) -> Iterator[str]:
        """Compare what is said of fields that have no name in the schema."""
        before, after = old.get("additionalProperties", True), new.get("additionalProperties", True)
        if self.sent_to_us and after is False and before is not False:
            yield f"{where} no longer takes unknown fields"
        elif isinstance(before, dict) and isinstance(after, dict):
            yield from self.compare(before, after, f"{where}.*", seen)


def alternatives(document: Json, schema: Json) -> list[Json]:
    """Lay out what a schema allows: references followed, `anyOf`, `oneOf` and lists of types one by one."""
    while "$ref" in schema:
        target: Any = document
        for step in schema["$ref"].removeprefix("#/").split("/"):
            target = target[step.replace("~1", "/").replace("~0", "~")]
        schema = {**target, **{key: value for key, value in schema.items() if key != "$ref"}}
    if isinstance(schema.get("type"), list):
        return [{**schema, "type": one} for one in schema["type"]]
    choices = schema.get("anyOf") or schema.get("oneOf")
    if choices:
        return [one for choice in choices for one in alternatives(document, choice)]
    if len(schema.get("allOf", [])) == 1:
        return alternatives(document, schema["allOf"][0])
    return [schema]


def kind(schema: Json) -> str:
    """Name the type of a schema without alternatives."""
    return str(schema.get("type", "anything" if values(schema) is None else "one of some values"))


def values(schema: Json) -> list[str] | None:
    """Return the values that a schema allows, as JSON, if it lists them."""
    listed = [schema["const"]] if "const" in schema else schema.get("enum")
    return None if listed is None else [json.dumps(value, sort_keys=True) for value in listed]


def narrowed(giving: Json, taking: Json) -> Iterator[str]:
    """Return the keywords by which `taking` takes less than `giving` gives."""
    for keyword in (*UPPER, *LOWER, *EXACT):
        provided, accepted = giving.get(keyword), taking.get(keyword)
        if accepted is None or provided == accepted:
            continue
        exact = provided is None or keyword in EXACT
        if exact or (provided > accepted if keyword in UPPER else provided < accepted):
            yield keyword
