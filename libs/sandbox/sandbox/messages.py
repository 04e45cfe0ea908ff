"""What a model is asked and what it answers, whichever wire it travels on."""

import base64
import re
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from pydantic import JsonValue

Json = dict[str, JsonValue]
HANDOFF = "transfer_to_"
# Stands for bytes that are no text; it is written as such where the answer becomes a stream.
INVALID_UTF8 = "\ue000"


@dataclass(frozen=True)
class Message:
    """A message of a person or of the model."""

    role: Literal["user", "assistant"]
    text: str
    # What came beside the text, such as `image/png of 68 bytes`.
    attachments: tuple[str, ...] = ()


@dataclass(frozen=True)
class ToolCall:
    """A tool call that the model made."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True)
class ToolOutput:
    """What a tool gave back."""

    id: str
    output: str


Item = Message | ToolCall | ToolOutput


@dataclass(frozen=True)
class Tool:
    """A tool on offer, with the JSON Schema of its arguments."""

    name: str
    description: str
    parameters: Json

    @property
    def is_handoff(self) -> bool:
        """Whether calling it hands over to another agent."""
        return self.name.startswith(HANDOFF)


@dataclass(frozen=True)
class ModelRequest:
    """One request to the model. `tool_choice` is auto, none, required or the name of a tool."""

    model: str
    instructions: str
    items: tuple[Item, ...]
    tools: tuple[Tool, ...] = ()
    tool_choice: str = "auto"
    is_parallel: bool = True
    schema: Json | None = None
    max_tokens: int | None = None

    @cached_property
    def question(self) -> str:
        """The last thing that the person wrote."""
        return next(
            (item.text for item in reversed(self.items) if isinstance(item, Message) and item.role == "user"),
            "",
        )

    @cached_property
    def since_question(self) -> tuple[Item, ...]:
        """What has happened since the person wrote that."""
        indexes = [index for index, item in enumerate(self.items) if _is_users(item)]
        return self.items[indexes[-1] + 1 :] if indexes else self.items

    @cached_property
    def called(self) -> tuple[str, ...]:
        """The names of the tools called since then, in order."""
        return tuple(item.name for item in self.since_question if isinstance(item, ToolCall))


def _is_users(item: Item) -> bool:
    return isinstance(item, Message) and item.role == "user"


@dataclass(frozen=True)
class Reply:
    """What the model answers: tool calls as (name, arguments), or words."""

    text: str = ""
    calls: tuple[tuple[str, str], ...] = ()
    reasoning: str = ""
    is_refusal: bool = False
    is_cut: bool = False


def text_of(content: JsonValue) -> str:
    """Gather the text of a message's or an output's content: a string, or a list of typed parts."""
    if isinstance(content, list):
        return "\n".join(filter(None, (_part_text(part) for part in content)))
    return content if isinstance(content, str) else ""


def attachments_of(content: JsonValue) -> tuple[str, ...]:
    """Describe the images and files of a message, by type and size, or where they are."""
    parts = content if isinstance(content, list) else []
    return tuple(_description(url) for part in parts if (url := _media_url(part)))


def _media_url(part: JsonValue) -> str:
    """Return the data URL or the address of an image or a file, on either wire."""
    if not isinstance(part, dict):
        return ""
    audio = part.get("input_audio")
    if isinstance(audio, dict):
        return f"data:audio/{audio.get('format')};base64,{audio.get('data')}"
    for name, member in (("image_url", "url"), ("file", "file_data"), ("file_data", "")):
        value = part.get(name)
        if isinstance(value, dict):
            value = value.get(member)
        if isinstance(value, str):
            return value
    return ""


def _description(url: str) -> str:
    match = re.match(r"data:([^;,]+);base64,", url)
    if match is None:
        return f"a link to {url}"
    return f"{match[1]} of {len(base64.b64decode(url[match.end() :]))} bytes"


def _part_text(part: JsonValue) -> str:
    if _media_url(part) or not isinstance(part, dict):
        return ""
    text = part.get("text") or part.get("refusal")
    return text if isinstance(text, str) else f"[{part.get('type', 'part')}]"
