"""What is posted to /v1/messages, as strict as Anthropic is about it."""

import json
from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, StringConstraints, model_validator

from sandbox.messages import Item, Json, Message, ModelRequest, Tool, ToolCall, ToolOutput
from sandbox.signatures import is_signed

PROVIDER = "anthropic"
# How ids of calls begin that a thought came before, which has to go back with them.
THOUGHTFUL = "toolu_thought_"
Name = Annotated[str, StringConstraints(pattern=r"^[a-zA-Z0-9_-]{1,128}$")]
Identifier = Annotated[str, StringConstraints(pattern=r"^[a-zA-Z0-9_-]+$")]
CacheControl = Json | None


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Source(_Strict):
    """Where an image or a document is."""

    type: Literal["base64", "url", "text", "file"]
    media_type: str | None = None
    data: str | None = None
    url: str | None = None
    file_id: str | None = None


class TextBlock(_Strict):
    """Text."""

    type: Literal["text"]
    text: Annotated[str, StringConstraints(pattern=r"\S")]
    cache_control: CacheControl = None
    citations: JsonValue = None


class MediaBlock(_Strict):
    """An image or a document."""

    type: Literal["image", "document"]
    source: Source
    title: str | None = None
    cache_control: CacheControl = None

    def description(self) -> str:
        """Describe it by type and size, or where it is."""
        if self.source.url:
            return f"a link to {self.source.url}"
        size = len(self.source.data or "")
        kind = self.source.media_type
        return f"{kind} of {size if self.source.type == 'text' else size * 3 // 4} bytes"


class ToolUseBlock(_Strict):
    """A call that the model made."""

    type: Literal["tool_use"]
    id: Identifier
    name: Name
    input: Json
    cache_control: CacheControl = None


class ToolResultBlock(_Strict):
    """What a tool gave."""

    type: Literal["tool_result"]
    tool_use_id: Identifier
    content: str | list[Annotated[TextBlock | MediaBlock, Field(discriminator="type")]] = ""
    is_error: bool | None = None
    cache_control: CacheControl = None

    def text(self) -> str:
        """Join its text."""
        if isinstance(self.content, str):
            return self.content
        return "\n".join(
            one.text if isinstance(one, TextBlock) else one.description() for one in self.content
        )


class ThinkingBlock(_Strict):
    """A thought, which must be the model's own and unchanged."""

    type: Literal["thinking"]
    thinking: str
    signature: str

    @model_validator(mode="after")
    def _is_own(self) -> "ThinkingBlock":
        if not is_signed(PROVIDER, self.thinking, self.signature):
            raise ValueError("Invalid `signature` in `thinking` block")
        return self


class RedactedBlock(_Strict):
    """A thought that only the model can read."""

    type: Literal["redacted_thinking"]
    data: str

    @model_validator(mode="after")
    def _is_own(self) -> "RedactedBlock":
        if not is_signed(PROVIDER, "redacted", self.data):
            raise ValueError("Invalid `data` in `redacted_thinking` block")
        return self


Block = Annotated[
    TextBlock | MediaBlock | ToolUseBlock | ToolResultBlock | ThinkingBlock | RedactedBlock,
    Field(discriminator="type"),
]


class MessageParam(_Strict):
    """One message."""

    role: Literal["user", "assistant"]
    content: str | list[Block]

    @property
    def blocks(self) -> list[Block]:
        """Its content as blocks."""
        return [TextBlock(type="text", text=self.content)] if isinstance(self.content, str) else self.content

    @property
    def has_lost_thoughts(self) -> bool:
        """Whether a call has come back without the thought that it came with."""
        kinds = {block.type for block in self.blocks}
        ids = [block.id for block in self.blocks if isinstance(block, ToolUseBlock)]
        return any(id_.startswith(THOUGHTFUL) for id_ in ids) and "thinking" not in kinds

    def items(self) -> Iterator[Item]:
        """Translate it for the model."""
        for block in self.blocks:
            if isinstance(block, ToolResultBlock):
                yield ToolOutput(block.tool_use_id, block.text())
        text = "\n".join(block.text for block in self.blocks if isinstance(block, TextBlock))
        media = tuple(block.description() for block in self.blocks if isinstance(block, MediaBlock))
        if text or media:
            yield Message(self.role, text, media)
        for block in self.blocks:
            if isinstance(block, ToolUseBlock):
                yield ToolCall(block.id, block.name, json.dumps(block.input))


class ToolParam(_Strict):
    """A tool on offer."""

    name: Name
    description: str | None = None
    input_schema: Json
    type: Literal["custom"] | None = None
    strict: bool | None = None
    cache_control: CacheControl = None


class ToolChoice(_Strict):
    """Which tools must be called."""

    type: Literal["auto", "any", "none", "tool"]
    name: str | None = None
    disable_parallel_tool_use: bool | None = None


class Thinking(_Strict):
    """Whether the model is to think."""

    type: Literal["adaptive", "disabled", "enabled"]
    display: Literal["summarized", "omitted"] | None = None
    budget_tokens: int | None = None


class OutputFormat(_Strict):
    """The schema of the answer."""

    type: Literal["json_schema"]
    schema_: Json = Field(alias="schema")


class OutputConfig(_Strict):
    """How the answer is to be."""

    effort: Literal["low", "medium", "high", "xhigh", "max"] | None = None
    format: OutputFormat | None = None


class MessagesRequest(_Strict):
    """The body of POST /v1/messages."""

    model: str
    max_tokens: int = Field(ge=1)
    messages: list[MessageParam] = Field(min_length=1)
    system: str | list[TextBlock] | None = None
    tools: list[ToolParam] | None = None
    tool_choice: ToolChoice | None = None
    thinking: Thinking | None = None
    output_config: OutputConfig | None = None
    stop_sequences: list[str] | None = None
    temperature: float | None = Field(None, ge=0, le=1)
    top_p: float | None = None
    top_k: int | None = None
    stream: bool | None = None
    cache_control: CacheControl = None
    metadata: Json | None = None
    service_tier: str | None = None

    @model_validator(mode="after")
    def _pairs_calls_and_results(self) -> "MessagesRequest":
        if self.messages[0].role != "user":
            raise ValueError('messages: first message must use the "user" role')
        open_: set[str] = set()
        for message in self.messages:
            results = [block.tool_use_id for block in message.blocks if isinstance(block, ToolResultBlock)]
            kinds = [isinstance(block, ToolResultBlock) for block in message.blocks]
            if set(results) != open_ or len(results) != len(open_):
                raise ValueError("`tool_use` ids were found without `tool_result` blocks immediately after")
            if kinds != sorted(kinds, reverse=True):
                raise ValueError("`tool_result` blocks must come first in a message")
            if message.has_lost_thoughts:
                raise ValueError("`thinking` blocks must be passed back with the `tool_use` that they led to")
            open_ = {block.id for block in message.blocks if isinstance(block, ToolUseBlock)}
        return self

    @property
    def is_cached(self) -> bool:
        """Whether a prefix is to be cached."""
        return self.cache_control is not None

    def to_model_request(self) -> ModelRequest:
        """Translate it for the model."""
        choice = self.tool_choice or ToolChoice(type="auto")
        system = self.system or ""
        format_ = self.output_config.format if self.output_config else None
        return ModelRequest(
            model=self.model,
            instructions=system if isinstance(system, str) else "\n".join(one.text for one in system),
            items=tuple(item for message in self.messages for item in message.items()),
            tools=tuple(Tool(one.name, one.description or "", one.input_schema) for one in self.tools or []),
            tool_choice=choice.name or {"any": "required"}.get(choice.type, choice.type),
            is_parallel=not choice.disable_parallel_tool_use,
            schema=format_.schema_ if format_ else None,
            max_tokens=self.max_tokens,
        )
