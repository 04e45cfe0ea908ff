"""What is posted to /v1beta/models/…, as strict as Gemini is about it."""

import json
from collections.abc import Iterator
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, model_validator
from pydantic.alias_generators import to_camel

from sandbox.messages import Item, Json, Message, ModelRequest, Tool, ToolCall, ToolOutput
from sandbox.signatures import is_signed

PROVIDER = "gemini"
# Documented for calls that other models have made.
ANY_SIGNATURE = "skip_thought_signature_validator"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", alias_generator=to_camel)


class FunctionCall(_Strict):
    """A call that the model made."""

    id: str | None = None
    name: str
    args: Json = {}

    @property
    def signed_text(self) -> str:
        """What the signature of a call is of."""
        return f"{self.name} {json.dumps(self.args, sort_keys=True)}"


class FunctionResponse(_Strict):
    """What a function gave."""

    id: str | None = None
    name: str
    response: Json


class Blob(_Strict):
    """An image or a file."""

    mime_type: str
    data: str


class FileData(_Strict):
    """A link to one."""

    file_uri: str
    mime_type: str | None = None


class Part(_Strict):
    """A part of what was said."""

    text: str | None = None
    thought: bool | None = None
    thought_signature: str | None = None
    function_call: FunctionCall | None = None
    function_response: FunctionResponse | None = None
    inline_data: Blob | None = None
    file_data: FileData | None = None

    @model_validator(mode="after")
    def _is_own(self) -> "Part":
        signature = self.thought_signature
        if signature == ANY_SIGNATURE and self.function_call and (self.function_call.id or "")[:3] == "fc-":
            raise ValueError("The thought signature of a call of Gemini's own was left out.")
        if signature not in {None, ANY_SIGNATURE}:
            signed = self.function_call.signed_text if self.function_call else self.text or ""
            if not is_signed(PROVIDER, signed, signature or ""):
                raise ValueError("Thought signature is not valid.")
        return self

    def description(self) -> str:
        """Describe an image or a file by type and size, or where it is."""
        if self.inline_data:
            return f"{self.inline_data.mime_type} of {len(self.inline_data.data) * 3 // 4} bytes"
        return f"a link to {self.file_data.file_uri}" if self.file_data else ""


class Content(_Strict):
    """A turn."""

    role: Literal["user", "model"] = "user"
    parts: list[Part] = Field(min_length=1)

    @property
    def calls(self) -> list[Part]:
        """The parts that are calls."""
        return [part for part in self.parts if part.function_call]

    @property
    def responses(self) -> list[Part]:
        """The parts that are what functions gave."""
        return [part for part in self.parts if part.function_response]

    def items(self, number: int) -> Iterator[Item]:
        """Translate it for the model; calls and outputs pair up by their order."""
        for index, part in enumerate(self.responses):
            if response := part.function_response:
                output = response.response.get("output", response.response)
                text = output if isinstance(output, str) else json.dumps(output)
                yield ToolOutput(response.id or f"{number - 1}-{index}", text)
        texts = [part.text for part in self.parts if part.text and not part.thought]
        media = tuple(text for part in self.parts if (text := part.description()))
        if texts or media:
            separator = "" if self.role == "model" else "\n"
            yield Message("assistant" if self.role == "model" else "user", separator.join(texts), media)
        for index, part in enumerate(self.calls):
            if call := part.function_call:
                yield ToolCall(call.id or f"{number}-{index}", call.name, json.dumps(call.args))


class Declaration(_Strict):
    """A function on offer."""

    name: str
    description: str
    parameters: Json | None = None
    parameters_json_schema: Json | None = None


class ToolParam(_Strict):
    """Functions on offer."""

    function_declarations: list[Declaration]


class CallingConfig(_Strict):
    """Which functions must be called."""

    mode: Literal["AUTO", "ANY", "NONE"] = "AUTO"
    allowed_function_names: list[str] | None = None


class ToolConfig(_Strict):
    """How functions are called."""

    function_calling_config: CallingConfig = CallingConfig()


class ThinkingConfig(_Strict):
    """How much the model is to think."""

    include_thoughts: bool | None = None
    thinking_budget: int | None = None
    thinking_level: Literal["minimal", "low", "medium", "high"] | None = None


class GenerationConfig(_Strict):
    """How the answer is made."""

    temperature: float | None = None
    top_p: float | None = None
    top_k: float | None = None
    max_output_tokens: int | None = Field(None, ge=1)
    stop_sequences: list[str] | None = None
    seed: int | None = None
    candidate_count: Literal[1] | None = None
    response_mime_type: str | None = None
    response_json_schema: Json | None = None
    thinking_config: ThinkingConfig | None = None


class GenerateContentRequest(_Strict):
    """The body of POST /v1beta/models/{model}:generateContent."""

    contents: list[Content] = Field(min_length=1)
    system_instruction: Content | None = None
    tools: list[ToolParam] | None = None
    tool_config: ToolConfig | None = None
    generation_config: GenerationConfig = GenerationConfig()
    safety_settings: JsonValue = None

    @model_validator(mode="after")
    def _pairs_calls_and_responses(self) -> "GenerateContentRequest":
        if self.contents[0].role != "user":
            raise ValueError("Please ensure that multiturn requests begin with a user turn.")
        open_ = 0
        for content in self.contents:
            if len(content.responses) != open_:
                raise ValueError("The number of function response parts must equal that of function calls.")
            if content.calls and not content.calls[0].thought_signature:
                raise ValueError("Function call is missing a thought_signature in functionCall parts.")
            open_ = len(content.calls)
        return self

    def to_model_request(self, model: str) -> ModelRequest:
        """Translate it for the model."""
        system = self.system_instruction.parts if self.system_instruction else []
        functions = [one for tool in self.tools or [] for one in tool.function_declarations]
        config = self.tool_config.function_calling_config if self.tool_config else CallingConfig()
        named = config.allowed_function_names or []
        choice = {"AUTO": "auto", "ANY": "required", "NONE": "none"}[config.mode]
        return ModelRequest(
            model=model,
            instructions="\n".join(part.text or "" for part in system),
            items=tuple(item for number, one in enumerate(self.contents) for item in one.items(number)),
            tools=tuple(
                Tool(one.name, one.description, one.parameters_json_schema or one.parameters or {})
                for one in functions
            ),
            tool_choice=named[0] if len(named) == 1 else choice,
            schema=self.generation_config.response_json_schema,
            max_tokens=self.generation_config.max_output_tokens,
        )
