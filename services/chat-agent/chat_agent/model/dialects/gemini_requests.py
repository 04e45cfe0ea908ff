"""A request of Responses as one of Gemini's generateContent."""

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
    text_of,
    without_none,
)
from chat_agent.model.json import Json
from chat_agent.model.reasoning import unseal

# Stands for the signature of a call that another model made.
FOREIGN = "skip_thought_signature_validator"
LEVELS = {
    "none": "minimal",
    "minimal": "minimal",
    "low": "low",
    "medium": "medium",
    "high": "high",
    "xhigh": "high",
}
# What models before Gemini 3 take in place of a level.
BUDGETS = {"none": 0, "minimal": 1024, "low": 1024, "medium": 8192, "high": 24_576, "xhigh": 24_576}
WITH_BUDGET = ("gemini-2.", "gemini-1.")
CHOICES = {"auto": "AUTO", "required": "ANY", "none": "NONE"}


def to_body(request: Json) -> Json:
    """Return the body of a request."""
    functions = [declaration_of(tool) for tool in functions_of(request)]
    instructions = instructions_of(request)
    return without_none(
        {
            "contents": Contents(request["input"]).build(),
            "systemInstruction": {"parts": [{"text": instructions}]} if instructions else None,
            "tools": [{"functionDeclarations": functions}] if functions else None,
            "toolConfig": tool_config_of(request.get("tool_choice")) if functions else None,
            "generationConfig": generation_config_of(request) or None,
        }
    )


def declaration_of(tool: Json) -> Json:
    """Return a function as a declaration."""
    description = tool.get("description") or tool["name"]
    return {"name": tool["name"], "description": description, "parametersJsonSchema": schema_of(tool)}


def tool_config_of(choice: str | Json | None) -> Json | None:
    """Return which functions must be called."""
    if choice is None:
        return None
    if isinstance(choice, str):
        return {"functionCallingConfig": {"mode": CHOICES[choice]}}
    return {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": [choice["name"]]}}


def generation_config_of(request: Json) -> Json:
    """Return how the answer is made."""
    schema = output_schema_of(request)
    return without_none(
        {
            "temperature": request.get("temperature"),
            "topP": request.get("top_p"),
            "maxOutputTokens": request.get("max_output_tokens"),
            "stopSequences": stop_of(request) or None,
            "seed": request.get("seed"),
            "responseMimeType": "application/json" if schema else None,
            "responseJsonSchema": schema,
            "thinkingConfig": thinking_config_of(request["model"], effort_of(request)),
        }
    )


def thinking_config_of(model: str, effort: str | None) -> Json | None:
    """Return how much the model is to think; none leaves it to the model."""
    if effort is None:
        return None
    thoughts = {"includeThoughts": True} if effort != "none" else {}
    if model.startswith(WITH_BUDGET):
        return {"thinkingBudget": BUDGETS[effort], **thoughts}
    return {"thinkingLevel": LEVELS[effort], **thoughts}


class Contents:
    """Builds the conversation, in which each signature stands on the part that it came with."""

    def __init__(self, items: list[Json]) -> None:
        self._items = [item for item in items if not is_instruction(item)]
        self._names: dict[str, str] = {}
        # Of the call or the message that comes next.
        self._call_signature: str | None = None
        self._signed_texts: list[tuple[int, int, str]] = []
        self._is_first_call = True

    def build(self) -> list[Json]:
        """Return the turns of the user and of the model."""
        turns = [self._turn(item) for item in self._items]
        contents = merged(turns, "parts")
        if contents and contents[0]["role"] != "user":
            contents.insert(0, {"role": "user", "parts": [{"text": BEGINNING}]})
        return contents

    def _turn(self, item: Json) -> Json:
        kind = item.get("type", "message")
        if kind == "function_call":
            return {"role": "model", "parts": [self._call(item)]}
        if kind == "reasoning":
            self._note(item)
            return {"role": "model", "parts": []}
        self._is_first_call = True
        if kind == "function_call_output":
            return {"role": "user", "parts": [*self._response(item)]}
        if item.get("role") == "assistant":
            return {"role": "model", "parts": [*self._answer(text_of(item))]}
        parts = [one for part in parts_of(item.get("content")) for one in input_parts(part)]
        return {"role": "user", "parts": parts}

    def _note(self, item: Json) -> None:
        """Remember a signature for what it stands before."""
        kind, data = unseal(item)
        if kind == "call":
            self._call_signature = data
        elif kind == "text":
            start, end, signature = data.split(":", 2)
            self._signed_texts.append((int(start), int(end), signature))

    def _call(self, item: Json) -> Json:
        self._names[item["call_id"]] = item["name"]
        signature, self._call_signature = self._call_signature, None
        if signature is None and self._is_first_call:
            signature = FOREIGN
        self._is_first_call = False
        call = {
            "id": safe_call_id(item["call_id"]),
            "name": item["name"],
            "args": arguments_of(item["arguments"]),
        }
        return {"functionCall": call, **({"thoughtSignature": signature} if signature else {})}

    def _response(self, item: Json) -> Iterator[Json]:
        output: Any = item["output"]
        parts = parts_of(output)
        yield {
            "functionResponse": {
                "id": safe_call_id(item["call_id"]),
                "name": self._names.get(item["call_id"], "tool"),
                "response": {"output": "".join(part_text(part) for part in parts)},
            }
        }
        for part in parts:
            if not part_text(part):
                yield from input_parts(part)

    def _answer(self, text: str) -> Iterator[Json]:
        """Yield an answer in the parts in which it came, as far as they are signed."""
        signed, self._signed_texts = self._signed_texts, []
        at = 0
        for start, end, signature in signed:
            if text[at:start]:
                yield {"text": text[at:start]}
            yield {"text": text[start:end], "thoughtSignature": signature}
            at = end
        if text[at:]:
            yield {"text": text[at:]}


def input_parts(part: Json) -> Iterator[Json]:
    """Yield a part of what a user says."""
    if data := data_of(part):
        yield {"inlineData": {"mimeType": data[0], "data": data[1]}}
    elif audio := part.get("input_audio"):
        yield {"inlineData": {"mimeType": f"audio/{audio['format']}", "data": audio["data"]}}
    elif part.get("image_url"):
        yield {"fileData": {"fileUri": part["image_url"], "mimeType": "image/jpeg"}}
    elif text := part_text(part):
        yield {"text": text}
