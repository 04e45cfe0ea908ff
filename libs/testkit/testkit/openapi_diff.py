"""What a change of a contract breaks: of an OpenAPI document, or of an event's JSON Schema.

What others send us may only become freer, what we send them only stricter. So one of the old and the new
schema must take all that the other one gives; and no field may go, not even one that need not be there.
"""

from collections.abc import Iterator
from typing import Any

from testkit.schema_diff import Comparison

Json = dict[str, Any]

METHODS = frozenset({"get", "put", "post", "delete", "patch"})


def breaking_changes(old: Json, new: Json) -> list[str]:
    """List, in sentences, what would break those who rely on the old document; empty when nothing would."""
    if "openapi" in old:
        return sorted(set(operations(old, new)))
    return sorted(set(Comparison(old, new, sent_to_us=False).compare(old, new, "the event")))


def declares_break(old: Json, new: Json) -> bool:
    """Return whether the version allows a breaking change: its first number rose (below 1: its second)."""
    before, after = (parse_version(document.get("info", {}).get("version", "0.0")) for document in (old, new))
    return after[0] > before[0] or (before[0] == after[0] == 0 and after[1] > before[1])


def parse_version(version: str) -> tuple[int, int]:
    """Read the first two numbers of a version."""
    first, second, *_ = [*version.split("."), "0"]
    return int(first), int(second)


def operations(old: Json, new: Json) -> Iterator[str]:
    """Compare all operations."""
    for path, item in old.get("paths", {}).items():
        for method in METHODS & item.keys():
            where = f"{method.upper()} {path}"
            after = new.get("paths", {}).get(path, {}).get(method)
            if after is None:
                yield f"{where} is gone"
                continue
            sent = Comparison(old, new, sent_to_us=True)
            yield from parameters(sent, item[method], after, where)
            yield from body(sent, item[method], after, where)
            yield from responses(Comparison(old, new, sent_to_us=False), item[method], after, where)


def parameters(comparison: Comparison, old: Json, new: Json, where: str) -> Iterator[str]:
    """Compare an operation's parameters."""
    before, after = (
        {f"the {one['in']} parameter {one['name']}": one for one in operation.get("parameters", [])}
        for operation in (old, new)
    )
    for name, one in after.items():
        if one.get("required") and not before.get(name, {}).get("required"):
            yield f"{where}: {name} is now required"
    for name, one in before.items():
        if name in after:
            yield from comparison.compare(one["schema"], after[name]["schema"], f"{where}: {name}")
        else:
            yield f"{where}: {name} is gone"


def body(comparison: Comparison, old: Json, new: Json, where: str) -> Iterator[str]:
    """Compare what an operation takes."""
    before, after = old.get("requestBody", {}), new.get("requestBody", {})
    if after.get("required") and not before.get("required"):
        yield f"{where}: the body is now required"
    yield from contents(comparison, before, after, f"{where}: the body")


def responses(comparison: Comparison, old: Json, new: Json, where: str) -> Iterator[str]:
    """Compare what an operation answers."""
    for status, before in old.get("responses", {}).items():
        after = new.get("responses", {}).get(status)
        if after is not None:
            yield from contents(comparison, before, after, f"{where}: the {status} answer")
        elif status.startswith("2"):
            yield f"{where}: the {status} answer is gone"


def contents(comparison: Comparison, old: Json, new: Json, where: str) -> Iterator[str]:
    """Compare what is said, by media type."""
    for media_type, before in old.get("content", {}).items():
        after = new.get("content", {}).get(media_type)
        if after is None:
            yield f"{where} is no longer {media_type}"
        else:
            yield from comparison.compare(before.get("schema", {}), after.get("schema", {}), where)
