"""A request of Responses as one of Anthropic's Messages."""

import base64
from collections.abc import Iterator
from typing import Any

from chat_agent.model.dialects.requests import (
    BEGINNING,
    arguments_of,
    data_of,
    effort_of,
    functions_of,
    instructions_of,
    is_instruction,
    merged,
    output_schema_of,
    part_text,
    parts_of,
    safe_call_id,
    schema_of,
    stop_of,
    without_none,
)
from chat_agent.model.json import Json
from chat_agent.model.reasoning import unseal

# Messages require a limit; the newest models answer at more length than this only on request.
MAX_TOKENS = 16_384
EFFORTS = {"minimal": "low", "low": "low", "medium": "medium", "high": "high", "xhigh": "xhigh"}
CHOICES = {"auto": {"type": "auto"}, "required": {"type": "any"}, "none": {"type": "none"}}


def to_body(request: Json) -> Json:
    """Return the body of a request."""
    tools = [tool_of(tool) for tool in functions_of(request)]
    choice = tool_choice_of(request) if tools else None
    is_forced = choice is not None and choice["type"] in {"any", "tool"}
    return without_none(
        {
            "model": request["model"],
            "max_tokens": request.get("max_output_tokens") or MAX_TOKENS,
            "stream": True,
            "system": instructions_of(request) or None,
            "messages": messages_of(request["input"]),
            "tools": tools or None,
            "tool_choice": choice,
            "thinking": None if is_forced else thinking_of(request),
            "output_config": output_config_of(request),
            "stop_sequences": stop_of(request) or None,
            "temperature": request.get("temperature"),
            "top_p": request.get("top_p"),
            # The longest prefix that was sent before is read from the cache, and the rest written to it.
            "cache_control": {"type": "ephemeral"},
        }
    )


def tool_of(tool: Json) -> Json:
    """Return a function as a tool."""
    described = {"description": tool["description"]} if tool.get("description") else {}
    return {"name": tool["name"], **described, "input_schema": schema_of(tool)}


def tool_choice_of(request: Json) -> Json | None:
    """Return which tools must be called."""
    choice = request.get("tool_choice")
    parallel = {"disable_parallel_tool_use": True} if request.get("parallel_tool_calls") is False else {}
    if isinstance(choice, dict):
        return {"type": "tool", "name": choice["name"], **parallel}
    if choice is None and not parallel:
        return None
    chosen: Json = CHOICES[choice or "auto"]
    return chosen if choice == "none" else {**chosen, **parallel}


def thinking_of(request: Json) -> Json | None:
    """Return whether the model is to think; none leaves it to the model."""
    match effort_of(request):
        case None:
            return None
        case "none":
            return {"type": "disabled"}
    return {"type": "adaptive", "display": "summarized"}


def output_config_of(request: Json) -> Json | None:
    """Return how much effort the answer is worth, and its schema."""
    schema = output_schema_of(request)
    format_ = {"type": "json_schema", "schema": schema} if schema else None
    return without_none({"effort": EFFORTS.get(effort_of(request) or ""), "format": format_}) or None


def messages_of(items: list[Json]) -> list[Json]:
    """Return the conversation, in which the roles alternate."""
    turns = [turn for item in items if not is_instruction(item) for turn in turns_of(item)]
    messages = merged(turns, "content")
    if messages and messages[0]["role"] != "user":
        messages.insert(0, {"role": "user", "content": [{"type": "text", "text": BEGINNING}]})
    return [results_first(message) for message in messages]


def results_first(message: Json) -> Json:
    """Return a message in which the results of tools stand first, as they must."""
    return {**message, "content": sorted(message["content"], key=lambda one: one["type"] != "tool_result")}


def turns_of(item: Json) -> Iterator[Json]:
    """Yield what an item is in a conversation."""
    match item.get("type", "message"):
        case "message":
            is_answer = item["role"] == "assistant"
            blocks = [block for part in parts_of(item["content"]) for block in blocks_of(part)]
            yield {"role": "assistant" if is_answer else "user", "content": blocks}
        case "reasoning":
            yield {"role": "assistant", "content": thinking_blocks(item)}
        case "function_call":
            call_id, arguments = safe_call_id(item["call_id"]), arguments_of(item["arguments"])
            block = {"type": "tool_use", "id": call_id, "name": item["name"], "input": arguments}
            yield {"role": "assistant", "content": [block]}
        case "function_call_output":
            yield {"role": "user", "content": [tool_result(item)]}


def thinking_blocks(item: Json) -> list[Json]:
    """Return a thought of the model's own, unchanged."""
    kind, data = unseal(item)
    if kind == "redacted":
        return [{"type": "redacted_thinking", "data": data}]
    text = "".join(part["text"] for part in item.get("summary") or [])
    return [{"type": "thinking", "thinking": text, "signature": data}]


def tool_result(item: Json) -> Json:
    """Return what a tool gave."""
    output: Any = item["output"]
    content = output if isinstance(output, str) else [one for part in output for one in blocks_of(part)]
    return {"type": "tool_result", "tool_use_id": safe_call_id(item["call_id"]), "content": content}


def blocks_of(part: Json) -> Iterator[Json]:
    """Yield a part as a block; text without any letter is refused, and left out."""
    match part["type"]:
        case "input_image":
            yield {"type": "image", "source": source_of(part) or {"type": "url", "url": part["image_url"]}}
        case "input_file":
            yield file_block(part)
        case _ if part_text(part).strip():
            yield {"type": "text", "text": part_text(part)}


def source_of(part: Json) -> Json | None:
    """Return the data of an image or a file; none of a link."""
    data = data_of(part)
    return {"type": "base64", "media_type": data[0], "data": data[1]} if data else None


def file_block(part: Json) -> Json:
    """Return a file: a PDF as it is, a text as text; of others their names."""
    name, source = part.get("filename") or "file", source_of(part)
    if source is None or not source["media_type"].startswith(("text/", "application/pdf")):
        return {"type": "text", "text": f"[A file, {name}, that cannot be read.]"}
    if source["media_type"] != "application/pdf":
        text = base64.b64decode(source["data"]).decode(errors="replace")
        source = {"type": "text", "media_type": "text/plain", "data": text}
    return {"type": "document", "source": source, "title": name}
