"""Values for a JSON Schema, taken from what the person wrote where that is possible."""

import re
from functools import cache
from zoneinfo import available_timezones

from pydantic import JsonValue

from sandbox.messages import Json

_MAX_DEPTH = 8
_FIXED = {"timezone": "UTC", "time_zone": "UTC", "tz": "UTC"}
_FREE_TEXT_FIELDS = {"input", "message", "prompt", "question", "task", "text"}
_SMALL_WORDS = """
a about again all an and any are ask asked can could data did discuss discussed do does earlier find for from
had have her him his how i in is it last let me mention mentioned my of on or our please remember said say
search show so talk talked tell than that the their them then there they this time to told us was we were what
when where which who why will with would you your
"""


def example(schema: Json, text: str) -> JsonValue:
    """Make a value that fits the schema. `name=value` in the text decides a property."""
    return _value(schema, _Source(text, schema), "", 0)


class _Source:
    def __init__(self, text: str, root: Json) -> None:
        self.text = text
        self.root = root

    def hint(self, name: str) -> str | None:
        found = (
            re.search(rf"(?<!\w){re.escape(name)}\s*=\s*(?:\"([^\"]*)\"|([^\s,;]+))", self.text)
            if name
            else None
        )
        if found is None:
            return zone_of(self.text) if name in _FIXED else None
        return next((group for group in found.groups() if group is not None), None)

    def resolve(self, reference: str) -> Json:
        place: JsonValue = self.root
        for step in reference.removeprefix("#/").split("/"):
            place = place.get(step, {}) if isinstance(place, dict) else {}
        return place if isinstance(place, dict) else {}


def _value(schema: JsonValue, source: _Source, name: str, depth: int) -> JsonValue:
    if not isinstance(schema, dict) or depth > _MAX_DEPTH:
        return None
    if isinstance(reference := schema.get("$ref"), str):
        return _value(source.resolve(reference), source, name, depth + 1)
    for alternatives in ("anyOf", "oneOf", "allOf"):
        if isinstance(choices := schema.get(alternatives), list):
            return _value(_first_non_null(choices), source, name, depth + 1)
    if "const" in schema:
        return schema["const"]
    if schema.get("default") is not None and source.hint(name) is None:
        return schema["default"]
    return _typed(schema, source, name, depth)


def _first_non_null(choices: list[JsonValue]) -> JsonValue:
    return next((each for each in choices if isinstance(each, dict) and each.get("type") != "null"), None)


def _typed(schema: Json, source: _Source, name: str, depth: int) -> JsonValue:
    hint, kind = source.hint(name), _type_of(schema)
    match kind:
        case "object":
            return _object_value(schema, source, depth)
        case "array":
            return [_value(schema.get("items", {"type": "string"}), source, name, depth + 1)]
        case "boolean":
            return hint is not None and hint.lower() in {"true", "yes", "1"}
        case "integer" | "number":
            return _number_value(schema, hint or source.text, whole=kind == "integer")
        case "null":
            return None
        case _:
            return _string_value(schema, hint or _FIXED.get(name), name, source.text)


def _type_of(schema: Json) -> JsonValue:
    """Return the type of a schema, of several the first that is not null."""
    kind = schema.get("type", "object" if "properties" in schema else "string")
    return next((each for each in kind if each != "null"), "null") if isinstance(kind, list) else kind


def _object_value(schema: Json, source: _Source, depth: int) -> Json:
    properties, required = schema.get("properties"), schema.get("required")
    if not isinstance(properties, dict):
        return named_values(source.text)
    needed = required if isinstance(required, list) else []
    included = [name for name in properties if name in needed or source.hint(name) is not None]
    return {name: _value(properties[name], source, name, depth + 1) for name in included}


def named_values(text: str, schema: Json | None = None) -> Json:
    """Return what a text names as `name=value`: of a schema's properties, or all of it."""
    pairs = re.findall(r"(?<!\w)(\w+)\s*=\s*(?:\"([^\"]*)\"|([^\s,;]+))", text)
    values = {name: quoted or _number_in(plain) for name, quoted, plain in pairs}
    properties = values if schema is None else schema.get("properties")
    known = properties if isinstance(properties, dict) else {}
    return {name: value for name, value in values.items() if name in known}


def _number_in(word: str) -> int | str:
    return int(word) if re.fullmatch(r"-?\d{1,15}", word) else word


def _number_value(schema: Json, text: str, *, whole: bool) -> int | float:
    found = re.search(r"-?\d+(?:\.\d+)?", text)
    number = float(found.group()) if found else 1.0
    if isinstance(minimum := schema.get("minimum"), int | float):
        number = max(number, minimum)
    if isinstance(maximum := schema.get("maximum"), int | float):
        number = min(number, maximum)
    return int(number) if whole else number


def _string_value(schema: Json, hint: str | None, name: str, text: str) -> JsonValue:
    choices = schema.get("enum")
    if isinstance(choices, list) and choices:
        return hint if hint in choices else choices[0]
    if hint is not None:
        return hint
    return text if name in _FREE_TEXT_FIELDS else subject(text)


def zone_of(text: str) -> str | None:
    """Find the time zone (IANA) of a city that is named, if one is."""
    plain = text.replace("_", " ")
    named = [city for city in _zones_by_city() if re.search(rf"\b{re.escape(city)}\b", plain, re.IGNORECASE)]
    return _zones_by_city()[max(named, key=len)] if named else None


@cache
def _zones_by_city() -> dict[str, str]:
    """Return the zone of each city that has a zone named after it, as people write it."""
    zones = [zone for zone in available_timezones() if "/" in zone and not zone.startswith("Etc/")]
    return {zone.rpartition("/")[2].replace("_", " "): zone for zone in sorted(zones)}


def subject(text: str) -> str:
    """Name what a text is about: its two longest words that mean something, in their order."""
    small = _SMALL_WORDS.split()
    words = [word for word in re.findall(r"\w+", text) if word.lower() not in small]
    longest = sorted(set(words), key=lambda word: (-len(word), words.index(word)))[:2]
    return " ".join(sorted(longest, key=words.index)) or text[:80]
