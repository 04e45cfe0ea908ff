"""What an event of Responses must have so that the SDK can read it; compatible servers leave things out."""

from typing import Any

from chat_agent.model.chat_stream import count_of, details_of, is_count
from chat_agent.model.json import InvalidModelResponse, Json

WITH_ITEM = "response.output_item."
WITH_RESPONSE = {"response.completed", "response.incomplete", "response.failed"}
# What a response echoes of the request, and nobody reads.
ECHO = ("instructions", "metadata", "prompt", "text", "tools")
# What an item must have, by its type.
TEXTS = {"function_call": ("name", "arguments")}
PARTS = {"message": "content", "reasoning": "summary"}
COUNTS = ("input_tokens", "output_tokens", "total_tokens")
DETAILS = {"input_tokens_details": "cached_tokens", "output_tokens_details": "reasoning_tokens"}


def without_echo(event: Json) -> Json:
    """Return an event whose response has nothing of the request, which may be as long as a history."""
    response = event.get("response")
    if not isinstance(response, dict):
        return event
    rest = {name: value for name, value in response.items() if name not in ECHO}
    return {**event, "response": {**rest, "tools": []}}


def checked_event(event: Json) -> Json:
    """Return an event whose items are of the right form; raises InvalidModelResponse."""
    if event["type"].startswith(WITH_ITEM):
        check_item(event.get("item"))
    elif event["type"] in WITH_RESPONSE:
        response = event.get("response")
        if not isinstance(response, dict) or not isinstance(response.get("output", []), list | None):
            raise InvalidModelResponse("a response is not an object")
        response["output"] = response.get("output") or []
        for item in response["output"]:
            check_item(item)
        response["usage"] = usage_of(response.get("usage"))
    return event


def check_item(item: Any) -> None:
    """Raise InvalidModelResponse for an item that lacks what its type needs."""
    if not isinstance(item, dict) or not isinstance(item.get("type"), str):
        raise InvalidModelResponse("an item is not an object")
    if not all(isinstance(item.get(name), str) for name in TEXTS.get(item["type"], ())):
        raise InvalidModelResponse("a call has no name or no arguments")
    if (name := PARTS.get(item["type"])) is not None:
        item[name] = item.get(name) or []
        if not (isinstance(item[name], list) and all(is_part(part) for part in item[name])):
            raise InvalidModelResponse("the parts of an item are not objects")


def is_part(part: Any) -> bool:
    """Return whether a part of an item has a type, and text where it has any."""
    texts = [part.get(name, "") for name in ("text", "refusal")] if isinstance(part, dict) else [None]
    return all(isinstance(text, str) for text in texts) and isinstance(part.get("type"), str)


def usage_of(usage: Any) -> Json | None:
    """Return what was used, as numbers; none where nothing can be read of it."""
    if not isinstance(usage, dict) or not any(is_count(usage.get(name)) for name in COUNTS):
        return None
    details = {name: {field: 0, **(details_of(usage.get(name)) or {})} for name, field in DETAILS.items()}
    return {**usage, **{name: count_of(usage.get(name)) for name in COUNTS}, **details}
