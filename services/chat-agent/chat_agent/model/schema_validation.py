"""Validates JSON values by schemas of callers and tenants, in bounded time.

A schema may refer to another twice, and that to a third twice: with each, there is twice as much to validate.
Such a schema is refused. In one that refers to itself, that may be so with each level of a value: whether a
value matches is known soon all the same, but where it does not is not looked for.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any, NamedTuple
from urllib.parse import unquote

import jsonschema_rs

# Of a schema, with what its references lead to.
MAX_SIZE = 10_000
# Of the different patterns of a schema: their number, what all cost to parse, in characters, and the bytes to
# which they are compiled. These take up to some 40 ms, in which nothing else runs.
MAX_PATTERNS, MAX_PATTERN_COST, MAX_COMPILED = 100, 4000, 2_500_000
# A character costs ten times as much where case is ignored. Classes such as `\s` are replaced before, and in
# time that grows with the square of their number.
CASE_INSENSITIVE, CASE_COST = re.compile(r"\(\?[\w-]*i"), 10
CLASS_ESCAPE = re.compile(r"\\[dDwWsSpPc]")
# Sizes of schema and value, multiplied: what is validated in some tenths of a second, and where the place of
# an error is looked for, which takes a thousand times as long.
MAX_WORK, MAX_SEARCH = 20_000_000, 20_000
MAPPINGS = {"properties", "patternProperties", "dependentSchemas", "dependencies"}
# Applied only where a reference leads to them.
DEFINITIONS = {"$defs", "definitions"}
DATA = {"const", "enum", "default", "examples", "example"}
NOT_APPLIED = DEFINITIONS | DATA
REFERENCES = ("$ref", "$recursiveRef")
# What says how a schema itself is read.
HEAD = ("$schema", "$id", "id")
# What depends on the names that match a pattern.
BY_PATTERN = {"patternProperties", "additionalProperties", "unevaluatedProperties"}


class Mismatch(NamedTuple):
    """Where a value does not match a schema, and which rule; empty where that was not looked for."""

    place: str
    rule: str

    def described(self, whole: str) -> str:
        """Return the place for a sentence; `whole` is what the value is called."""
        return f" at {self.place or whole} (`{self.rule}`)" if self.rule else ""


class UnmatchablePattern(ValueError):
    """A pattern looks around, or is too large; `instance_path` is where it stands."""

    def __init__(self, error: jsonschema_rs.ValidationError) -> None:
        super().__init__(f"A pattern is too large, or cannot be matched in linear time: {error.instance!r}")
        self.instance_path = error.instance_path


class SchemaValidator:
    """Validates values by one schema."""

    def __init__(self, schema: Mapping[str, Any]) -> None:
        """Load nothing, and match patterns in linear time; raises ValueError for what is no schema."""
        document = dict(schema)
        measured = measure_schema(document)
        self._size, self._is_recursive = measured.size, measured.is_recursive
        self._validator = compiled(document)

    def is_too_much(self, value: object) -> bool:
        """Return whether a value is so large that it is not validated."""
        return self._size * count_values(value) > MAX_WORK

    def is_valid(self, value: object) -> bool:
        """Return whether a value matches."""
        return not self.is_too_much(value) and self._validator.is_valid(value)

    def mismatch(self, value: object) -> Mismatch | None:
        """Return where a value does not match; none where it does."""
        if self.is_valid(value):
            return None
        if self._is_recursive or self._size * count_values(value) > MAX_SEARCH:
            return Mismatch("", "")
        try:
            self._validator.validate(value)
        except jsonschema_rs.ValidationError as error:
            return Mismatch("/".join(map(str, error.instance_path)), "/".join(map(str, error.schema_path)))
        return None


def measure_schema(schema: dict[str, Any]) -> "SchemaSize":
    """Measure a schema, without its patterns; raises ValueError for what is none."""
    # Before its rules are checked: of a `$schema` that is not known, that would load the address.
    jsonschema_rs.validator_for({name: schema[name] for name in HEAD if name in schema}, offline=True)
    jsonschema_rs.meta.validate(schema)
    return SchemaSize(schema)


def compiled(schema: dict[str, Any]) -> jsonschema_rs.Validator:
    """Return what applies a schema; raises ValueError, and UnmatchablePattern for a pattern."""
    patterns = patterns_of(schema)
    if len(patterns) > MAX_PATTERNS or sum(map(cost_of, patterns)) > MAX_PATTERN_COST:
        raise ValueError(f"Its patterns are more than {MAX_PATTERNS}, or too long together.")
    options = jsonschema_rs.RegexOptions(size_limit=MAX_COMPILED // max(len(patterns), 1))
    try:
        return jsonschema_rs.validator_for(schema, offline=True, pattern_options=options)
    except jsonschema_rs.ValidationError as error:
        if isinstance(error.kind, jsonschema_rs.ValidationErrorKind.Format):
            raise UnmatchablePattern(error) from error
        raise


def patterns_of(schema: object) -> set[str]:
    """Return the patterns in a schema, wherever a reference may lead."""
    patterns: set[str] = set()
    rest = [schema]
    while rest:
        one = rest.pop()
        if isinstance(one, dict):
            rest += one.values()
            by_name = one.get("patternProperties")
            patterns.update(by_name if isinstance(by_name, dict) else ())
            patterns.update(text for text in [one.get("pattern")] if isinstance(text, str))
        elif isinstance(one, list):
            rest += one
    return patterns


def cost_of(pattern: str) -> int:
    """Return what a pattern costs to parse, at most, in characters of a plain one."""
    factor = CASE_COST if CASE_INSENSITIVE.search(pattern) else 1
    return len(pattern) * factor + len(CLASS_ESCAPE.findall(pattern)) ** 2


def validator_of_tool(schema: Mapping[str, Any]) -> SchemaValidator | None:
    """Return what validates arguments of somebody else's tool; none where only who runs the tool can.

    So it is with patterns that are not matched here: of a schema with such, all are left out.
    """
    try:
        return SchemaValidator(schema)
    except UnmatchablePattern:
        with suppress(ValueError):
            return SchemaValidator(without_patterns(schema))
    except ValueError:
        pass
    return None


def without_patterns(schema: Any) -> Any:
    """Return a schema without its patterns, and without what depends on them."""
    if isinstance(schema, list):
        return [without_patterns(one) for one in schema]
    if not isinstance(schema, Mapping):
        return schema
    left_out = {"pattern", *(BY_PATTERN if "patternProperties" in schema else ())}
    return {name: member_without_patterns(name, one) for name, one in schema.items() if name not in left_out}


def member_without_patterns(name: str, value: Any) -> Any:
    """Return a member of a schema without the patterns in it; names of properties are no keywords."""
    if name in MAPPINGS | DEFINITIONS and isinstance(value, Mapping):
        return {key: without_patterns(one) for key, one in value.items()}
    return value if name in DATA else without_patterns(value)


class SchemaSize:
    """Measures a schema with what its references lead to; raises ValueError for more than MAX_SIZE."""

    def __init__(self, document: dict[str, Any]) -> None:
        self._document = document
        # None while it is measured.
        self._sizes: dict[int, int | None] = {}
        self.is_recursive = False
        try:
            self.size = self._size_of(document)
        except RecursionError:
            raise ValueError("Its references lead to one another too often.") from None

    def _size_of(self, schema: Any) -> int:
        if not isinstance(schema, dict):
            return 0
        if id(schema) in self._sizes:
            known = self._sizes[id(schema)]
            self.is_recursive = self.is_recursive or known is None
            return known or 1
        self._sizes[id(schema)] = None
        enum = schema.get("enum")
        size = 1 + (len(enum) if isinstance(enum, list) else 0) + sum(map(self._size_of, self._parts(schema)))
        if size > MAX_SIZE:
            raise ValueError(f"With what its references lead to, it has more than {MAX_SIZE} parts.")
        self._sizes[id(schema)] = size
        return size

    def _parts(self, schema: dict[str, Any]) -> Iterator[Any]:
        """Yield the schemas that are applied with one."""
        if schema is not self._document and isinstance(schema.get("$id", schema.get("id")), str):
            raise ValueError("A schema in a schema must not have an `$id`.")
        if "$dynamicRef" in schema:
            raise ValueError("`$dynamicRef` is not supported.")
        yield from (self._target(schema[name]) for name in REFERENCES if name in schema)
        for name, value in schema.items():
            if name in MAPPINGS and isinstance(value, dict):
                yield from value.values()
            elif name not in NOT_APPLIED:
                yield from value if isinstance(value, list) else [value]

    def _target(self, reference: Any) -> Any:
        if reference == "#":
            return self._document
        if not isinstance(reference, str) or not reference.startswith("#/"):
            raise ValueError("A reference must begin with `#/`.")
        place: Any = self._document
        for step in unquote(reference.removeprefix("#/")).split("/"):
            place = self._step(place, step.replace("~1", "/").replace("~0", "~"))
        return place

    def _step(self, place: Any, name: str) -> Any:
        try:
            return place[int(name)] if isinstance(place, list) else place[name]
        except (KeyError, TypeError, ValueError, IndexError):
            raise ValueError("A reference leads nowhere.") from None


def count_values(value: object) -> int:
    """Return of how many values a JSON value is made."""
    count, rest = 0, [value]
    while rest:
        one = rest.pop()
        count += 1
        if isinstance(one, dict):
            rest += one.values()
        elif isinstance(one, list):
            rest += one
    return count
