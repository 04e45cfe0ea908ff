"""What is posted to the two model APIs, as far as it changes the answer; the rest is let through."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from sandbox.messages import (
    Item,
    Json,
    Message,
    ModelRequest,
    Tool,
    ToolCall,
    ToolOutput,
    attachments_of,
    text_of,
)

# What the `include` of Responses calls them.
LOGPROBS = "message.output_text.logprobs"
_INSTRUCTION_ROLES = {"system", "developer"}


class Function(BaseModel):
    """A function on offer."""

    name: str
    description: str | None = None
    parameters: Json | None = None

    def to_tool(self) -> Tool:
        """Translate it for the model."""
        return Tool(self.name, self.description or "", self.parameters or {})


class InputItem(BaseModel):
    """One item of a Responses conversation: a message, a call, an output, or something passed over."""

    type: str = "message"
    role: str = "user"
    content: JsonValue = None
    name: str = ""
    arguments: str = ""
    call_id: str = ""
    output: JsonValue = None
    encrypted_content: str | None = None

    def to_item(self) -> Item | None:
        """Translate it for the model."""
        match self.type:
            case "message" if self.role not in _INSTRUCTION_ROLES:
                role: Literal["assistant", "user"] = "assistant" if self.role == "assistant" else "user"
                return Message(role, text_of(self.content), attachments_of(self.content))
            case "function_call":
                return ToolCall(self.call_id, self.name, self.arguments)
            case "function_call_output":
                return ToolOutput(self.call_id, text_of(self.output))
            case _:
                return None


class _TextFormat(BaseModel):
    schema_: Json | None = Field(default=None, alias="schema")


class _Text(BaseModel):
    format: _TextFormat = _TextFormat()


class ResponsesRequest(BaseModel):
    """The body of POST /v1/responses."""

    model: str
    input: str | list[InputItem] = ""
    instructions: str | None = None
    tools: list[Json] | None = None
    tool_choice: str | Json | None = None
    parallel_tool_calls: bool | None = None
    text: _Text | None = None
    max_output_tokens: int | None = Field(default=None, ge=1)
    include: list[str] | None = None
    top_logprobs: int | None = Field(default=None, ge=0, le=20)
    stream: bool | None = None

    @property
    def requested_logprobs(self) -> int | None:
        """How many alternatives of each token are requested; none where log probabilities are not."""
        return (self.top_logprobs or 0) if LOGPROBS in (self.include or []) else None

    @property
    def items(self) -> list[InputItem]:
        """The input; text alone is one message."""
        return [InputItem(content=self.input)] if isinstance(self.input, str) else self.input

    def to_model_request(self) -> ModelRequest:
        """Translate it for the model."""
        items = self.items
        instructions = [text_of(each.content) for each in items if each.role in _INSTRUCTION_ROLES]
        functions = [tool for tool in self.tools or [] if tool.get("type") == "function"]
        return ModelRequest(
            model=self.model,
            instructions="\n".join([self.instructions, *instructions] if self.instructions else instructions),
            items=tuple(item for each in items if (item := each.to_item()) is not None),
            tools=tuple(Function.model_validate(tool).to_tool() for tool in functions),
            tool_choice=_choice(self.tool_choice),
            is_parallel=self.parallel_tool_calls is not False,
            schema=self.text.format.schema_ if self.text else None,
            max_tokens=self.max_output_tokens,
        )


class ChatToolCall(BaseModel):
    """A call that the model made earlier, as Chat Completions tells it."""

    class Function(BaseModel):
        """Which function was called, and how."""

        name: str
        arguments: str

    id: str
    function: Function


class ChatMessage(BaseModel):
    """One message of a Chat Completions conversation."""

    role: str
    content: JsonValue = None
    tool_calls: list[ChatToolCall] | None = None
    tool_call_id: str = ""

    def to_items(self) -> list[Item]:
        """Translate it for the model."""
        text = text_of(self.content)
        match self.role:
            case "tool":
                return [ToolOutput(self.tool_call_id, text)]
            case "assistant":
                calls = [
                    ToolCall(call.id, call.function.name, call.function.arguments)
                    for call in self.tool_calls or []
                ]
                return [Message("assistant", text), *calls] if text else [*calls]
            case "user":
                return [Message("user", text, attachments_of(self.content))]
            case _:
                return []


class _ChatTool(BaseModel):
    function: Function | None = None


class _JsonSchema(BaseModel):
    schema_: Json | None = Field(default=None, alias="schema")


class _ResponseFormat(BaseModel):
    json_schema: _JsonSchema = _JsonSchema()


class _StreamOptions(BaseModel):
    include_usage: bool = False


class ChatRequest(BaseModel):
    """The body of POST /v1/chat/completions."""

    model: str
    messages: list[ChatMessage] = Field(min_length=1)
    tools: list[_ChatTool] | None = None
    tool_choice: str | Json | None = None
    parallel_tool_calls: bool | None = None
    response_format: _ResponseFormat | None = None
    max_tokens: int | None = Field(default=None, ge=1)
    max_completion_tokens: int | None = Field(default=None, ge=1)
    logprobs: bool | None = None
    top_logprobs: int | None = Field(default=None, ge=0, le=20)
    stream: bool | None = None
    stream_options: _StreamOptions | None = None

    @property
    def requested_logprobs(self) -> int | None:
        """How many alternatives of each token are requested; none where log probabilities are not."""
        return (self.top_logprobs or 0) if self.logprobs else None

    @property
    def wants_usage(self) -> bool:
        """Whether a stream is to end with its usage."""
        return self.stream_options is not None and self.stream_options.include_usage

    def to_model_request(self) -> ModelRequest:
        """Translate it for the model."""
        instructions = [
            text_of(message.content) for message in self.messages if message.role in _INSTRUCTION_ROLES
        ]
        return ModelRequest(
            model=self.model,
            instructions="\n".join(instructions),
            items=tuple(item for message in self.messages for item in message.to_items()),
            tools=tuple(tool.function.to_tool() for tool in self.tools or [] if tool.function),
            tool_choice=_choice(self.tool_choice),
            is_parallel=self.parallel_tool_calls is not False,
            schema=self.response_format.json_schema.schema_ if self.response_format else None,
            max_tokens=self.max_completion_tokens or self.max_tokens,
        )


class _NamedChoice(BaseModel):
    model_config = ConfigDict(extra="ignore")

    name: str = "auto"
    function: Function | None = None


def _choice(choice: str | Json | None) -> str:
    if isinstance(choice, dict):
        named = _NamedChoice.model_validate(choice)
        return named.function.name if named.function else named.name
    return choice or "auto"
