"""How two definitions differ, member by member."""

from collections.abc import Iterator, Mapping

from pydantic import JsonValue

from chat_agent.agent_definitions.schemas import Change

Members = Mapping[str, JsonValue]


def changes_between(before: Members, after: Members, path: str = "") -> Iterator[Change]:
    """Yield the members that differ; objects are compared member by member, lists as a whole."""
    for name in dict.fromkeys((*before, *after)):
        old, new, place = before.get(name), after.get(name), f"{path}{name}"
        if isinstance(old, dict) and isinstance(new, dict):
            yield from changes_between(old, new, f"{place}.")
        elif old != new or type(old) is not type(new):
            yield Change(path=place, before=old, after=new)
