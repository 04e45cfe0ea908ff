"""What the dialects have in common in reading a request of OpenAI's Responses."""

import hashlib
import re
from collections.abc import Iterable
from typing import Any

import openai

from chat_agent.model.json import InvalidModelResponse, Json, parse

DATA_URL = re.compile(r"data:([^;,]+);base64,")
CALL_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
# What stands before a history whose beginning was cut: a conversation begins with the user.
BEGINNING = "[The conversation began earlier.]"
INSTRUCTION_ROLES = {"system", "developer"}


def request_of(arguments: Json) -> Json:
    """Return the arguments that were not left out."""
    return {name: value for name, value in arguments.items() if not isinstance(value, openai.Omit)}


def instructions_of(request: Json) -> str:
    """Join the instructions, and those that stand among the messages."""
    among_messages = [text_of(item) for item in request["input"] if is_instruction(item)]
    texts = [request.get("instructions"), *among_messages]
    return "\n\n".join(text for text in texts if text)


def is_instruction(item: Json) -> bool:
    """Return whether an item is a message of the system or the developer."""
    return item.get("role") in INSTRUCTION_ROLES


def parts_of(content: Any) -> list[Json]:
    """Return the parts of a message or of an output; text alone is one."""
    return [{"type": "input_text", "text": content}] if isinstance(content, str) else list(content or [])


def text_of(item: Json) -> str:
    """Join the text of a message."""
    return "".join(part_text(part) for part in parts_of(item.get("content")))


def part_text(part: Json) -> str:
    """Return the text of a part; a refusal is text as well."""
    return part.get("text") or part.get("refusal") or ""


def data_of(part: Json) -> tuple[str, str] | None:
    """Return the media type and the base64 of an image or a file; none of a link, or of text."""
    url = part.get("image_url") or part.get("file_data") or ""
    match = DATA_URL.match(url)
    return (match[1], url[match.end() :]) if match else None


def safe_call_id(call_id: str) -> str:
    """Return an id that every provider takes: the same for the same one."""
    if CALL_ID.fullmatch(call_id):
        return call_id
    return f"call_{hashlib.sha256(call_id.encode(errors='replace')).hexdigest()[:32]}"


def arguments_of(text: str) -> Json:
    """Return the arguments of a call; what is no object is sent as it was written."""
    try:
        return parse(text.encode(errors="replace")) if text.strip() else {}
    except InvalidModelResponse:
        return {"arguments": text}


def functions_of(request: Json) -> list[Json]:
    """Return the functions on offer; raises UserError for other tools, which only OpenAI has."""
    tools: list[Json] = request.get("tools") or []
    for tool in tools:
        if tool.get("type") != "function":
            raise ValueError(f"a tool of type {tool.get('type')!r} is OpenAI's")
    return tools


def schema_of(tool: Json) -> Json:
    """Return the schema of a function's arguments, which is an object's."""
    return tool.get("parameters") or {"type": "object", "properties": {}}


def output_schema_of(request: Json) -> Json | None:
    """Return the schema that the answer has to match."""
    format_ = (request.get("text") or {}).get("format") or {}
    return format_.get("schema")


def effort_of(request: Json) -> str | None:
    """Return how much the model is to think, if the caller or the agent says."""
    return getattr(request.get("reasoning"), "effort", None)


def stop_of(request: Json) -> list[str]:
    """Return what ends the answer."""
    stop = request.get("stop") or []
    return [stop] if isinstance(stop, str) else list(stop)


def merged(turns: Iterable[Json], content: str) -> list[Json]:
    """Join neighbours of one role, whose parts are in this member."""
    joined: list[Json] = []
    for turn in turns:
        if joined and joined[-1]["role"] == turn["role"]:
            joined[-1] = {**turn, content: [*joined[-1][content], *turn[content]]}
        elif turn[content]:
            joined.append(turn)
    return joined


def without_none(body: Json) -> Json:
    """Return what is set."""
    return {name: value for name, value in body.items() if value is not None}
