"""Resolves the references of an OpenAPI document, which may lead inside of it only."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

from chat_agent.http_tools.problems import DocumentProblem

MAX_DEPTH = 40
# Of one operation: references to references may make a small document huge.
MAX_VALUES = 5000
# One after another, each leading to the next; and of one, in characters.
MAX_CHAIN, MAX_REFERENCE = 20, 1000


class Resolver:
    """Replaces references by what they refer to; raises DocumentProblem."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._document = document
        self._values = 0
        # Where references lead: many parts of a document may begin with the same one.
        self._targets: dict[str, Any] = {}

    def resolve(self, value: Any, path: str, inside: tuple[str, ...] = (), depth: int = 0) -> Any:
        """Return a value in which nothing refers to elsewhere."""
        self._values += 1
        if self._values > MAX_VALUES or depth > MAX_DEPTH:
            raise DocumentProblem(path, "The operation is too large when its references are resolved.")
        if isinstance(value, list):
            return [self.resolve(one, path, inside, depth + 1) for one in value]
        if not isinstance(value, dict):
            return value
        reference = value.get("$ref")
        # A property may be called `$ref`: it has a schema, which is no text.
        if isinstance(reference, str):
            if reference in inside:
                raise DocumentProblem(path, f"The reference {reference[:200]!r} leads back to itself.")
            target = self._target(reference, path)
            return self.resolve(target, path, (*inside, reference), depth + 1)
        return {name: self.resolve(one, path, inside, depth + 1) for name, one in value.items()}

    def follow(self, value: Any, path: str) -> Any:
        """Return what a reference refers to, and nothing below it."""
        seen: list[str] = []
        while isinstance(value, dict) and isinstance(reference := value.get("$ref"), str):
            if reference in seen:
                raise DocumentProblem(path, f"The reference {reference[:200]!r} leads back to itself.")
            if len(seen) == MAX_CHAIN:
                raise DocumentProblem(path, f"More than {MAX_CHAIN} references lead to one another.")
            seen.append(reference)
            value = self._target(reference, path)
        return value

    def _target(self, reference: str, path: str) -> Any:
        if reference not in self._targets:
            self._targets[reference] = self._find(reference, path)
        return self._targets[reference]

    def _find(self, reference: str, path: str) -> Any:
        if not reference.startswith("#/"):
            raise DocumentProblem(path, f"The reference {reference[:200]!r} leads out of the document.")
        if len(reference) > MAX_REFERENCE:
            raise DocumentProblem(path, f"A reference has at most {MAX_REFERENCE} characters.")
        place: Any = self._document
        for step in reference.removeprefix("#/").split("/"):
            name = unquote(step).replace("~1", "/").replace("~0", "~")
            if not isinstance(place, dict) or name not in place:
                raise DocumentProblem(path, f"The reference {reference[:200]!r} leads nowhere.")
            place = place[name]
        return place
