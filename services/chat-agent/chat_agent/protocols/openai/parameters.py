"""The parameters by which OpenAI's clients set how a model samples and answers, as options of a run."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Generic, Literal, NamedTuple, TypeVar

from pydantic import BeforeValidator, Field
from servicekit.schemas import max_length

from chat_agent.execution.agent_graph import AgentProfile
from chat_agent.protocols.client_tools import MAX_TOOLS, check_names, denied_parameters
from chat_agent.protocols.errors import InvalidParameter, ParameterNotAllowed, UnsupportedParameter
from chat_agent.protocols.json_schemas import check_schema
from chat_agent.protocols.openai.tools import (
    CompletionTool,
    ResponseTool,
    ToolChoice,
    ToolDefinition,
    check_choice,
    tools_of,
)
from chat_agent.protocols.requests import LenientModel, Members, Name, Parts, Text
from chat_agent.runs.options import (
    Bias,
    Choices,
    Effort,
    MaxTokens,
    OutputFormat,
    Penalty,
    Probability,
    RunOptions,
    Seed,
    Temperature,
    TopLogprobs,
    Truncation,
    Verbosity,
)
from chat_agent.settings import Settings

Tool = TypeVar("Tool", bound=ToolDefinition)
FormatType = Literal["text", "json_object", "json_schema"]
MAX_STOPS = 4
MAX_INCLUDED = 20
# What the `include` of Responses calls them; what else it names is ignored.
LOGPROBS = "message.output_text.logprobs"
LogitBias = Annotated[dict[str, Bias], Field(max_length=300), BeforeValidator(max_length(300))]
# What providers do not take, by the API that they are called with, unless it says what is so anyway.
NOT_IN_API: Mapping[str, frozenset[str]] = {
    "responses": frozenset({"stop", "seed", "logit_bias", "presence_penalty", "frequency_penalty"}),
    "chat_completions": frozenset({"truncation"}),
}
NEUTRAL: Mapping[str, Any] = {
    "n": 1,
    "stop": [],
    "logit_bias": {},
    "presence_penalty": 0,
    "frequency_penalty": 0,
    "truncation": "disabled",
    "tool_choice": "auto",
}


class Parameter(NamedTuple):
    """An option of a run, and the name by which the client has set it."""

    option: str
    name: str
    value: Any


class SharedParameters(LenientModel, Generic[Tool]):
    """What both of OpenAI's APIs have."""

    tools: Annotated[Parts[Tool], Field(max_length=MAX_TOOLS)] | None = None
    temperature: Temperature | None = None
    top_p: Probability | None = None
    service_tier: Name | None = None
    prompt_cache_key: Name | None = None
    tool_choice: Literal["auto", "none", "required"] | ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    # For whom an application calls; see `end_users`.
    safety_identifier: Text | None = None
    user: Text | None = None
    # False: what is said is erased when the run ends.
    store: bool | None = None

    def parameters(self, agent: AgentProfile) -> Iterator[Parameter]:
        """Yield what the client has set."""
        for name in ("temperature", "top_p", "service_tier", "prompt_cache_key"):
            yield Parameter(name, name, getattr(self, name))
        tools = tools_of(self.tools or [])
        own = agent.tool_names
        check_names(tools, own)
        if tools:
            yield Parameter("tools", "tools", [*tools.values()])
            yield Parameter("parallel_tool_calls", "parallel_tool_calls", self.parallel_tool_calls)
        choice = self.tool_choice.chosen if isinstance(self.tool_choice, ToolChoice) else self.tool_choice
        if choice is not None:
            names = own.union(tool.name for tool in tools.values())
            yield Parameter("tool_choice", "tool_choice", check_choice(choice, names))

    def options(self, agent: AgentProfile, settings: Settings) -> RunOptions:
        """Return the options of a run; raises UnsupportedParameter, ParameterNotAllowed, InvalidParameter."""
        denied = denied_parameters(settings, agent.name)
        values = {}
        for option, name, value in self.parameters(agent):
            if value is None or value == NEUTRAL.get(option, ...):
                continue
            if option in denied:
                raise ParameterNotAllowed(name, agent.name)
            if option in NOT_IN_API[settings.openai_api]:
                raise UnsupportedParameter(name, f"The provider of the model does not take `{name}`.")
            values[option] = value
        return RunOptions(**values)


class JsonSchemaFormat(LenientModel):
    """A JSON schema, and what it is called."""

    name: Annotated[str, Field(pattern="^[a-zA-Z0-9_-]{1,64}$")] = "answer"
    schema_: Members | None = Field(None, alias="schema")
    strict: bool | None = None

    def to_format(self, place: str) -> OutputFormat:
        """Return the format; raises InvalidParameter where the schema is none."""
        if self.schema_ is None:
            raise InvalidParameter(place, "Give the JSON schema of the answer.")
        check_schema(self.schema_, place, is_strict=bool(self.strict))
        return OutputFormat(name=self.name, json_schema=self.schema_, is_strict=bool(self.strict))


class ResponseFormat(LenientModel):
    """`response_format` of Chat Completions."""

    type: FormatType
    json_schema: JsonSchemaFormat | None = None

    def to_format(self) -> OutputFormat | None:
        """Return the format of the answer; none for text."""
        return to_format(self.type, self.json_schema, "response_format.json_schema")


class TextFormat(JsonSchemaFormat):
    """`text.format` of Responses."""

    type: FormatType


class TextParameters(LenientModel):
    """`text` of Responses."""

    verbosity: Verbosity | None = None
    format: TextFormat | None = None


class ReasoningParameters(LenientModel):
    """`reasoning` of Responses."""

    effort: Effort | None = None


class CompletionParameters(SharedParameters[CompletionTool]):
    """What Chat Completions has."""

    n: Choices | None = None
    logprobs: bool | None = None
    top_logprobs: TopLogprobs | None = None
    max_completion_tokens: MaxTokens | None = None
    max_tokens: MaxTokens | None = Field(None, deprecated=True)
    stop: Text | Annotated[list[Text], Field(max_length=MAX_STOPS)] | None = None
    seed: Seed | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    logit_bias: LogitBias | None = None
    reasoning_effort: Effort | None = None
    verbosity: Verbosity | None = None
    response_format: ResponseFormat | None = None

    def parameters(self, agent: AgentProfile) -> Iterator[Parameter]:
        """Yield what the client has set."""
        yield from super().parameters(agent)
        limit = "max_completion_tokens" if self.max_completion_tokens is not None else "max_tokens"
        yield Parameter("max_output_tokens", limit, self.__dict__[limit])
        yield Parameter("top_logprobs", "logprobs", self._top_logprobs())
        yield Parameter("stop", "stop", [self.stop] if isinstance(self.stop, str) else self.stop)
        for name in (
            "n",
            "seed",
            "presence_penalty",
            "frequency_penalty",
            "logit_bias",
            "reasoning_effort",
            "verbosity",
        ):
            yield Parameter(name, name, getattr(self, name))
        if self.response_format is not None:
            yield Parameter("output", "response_format", self.response_format.to_format())

    def _top_logprobs(self) -> int | None:
        """Return of how many alternatives log probabilities are requested; raises InvalidParameter."""
        if not self.logprobs and self.top_logprobs:
            raise InvalidParameter("top_logprobs", "Set `logprobs`, too.")
        return (self.top_logprobs or 0) if self.logprobs else None


class ResponseParameters(SharedParameters[ResponseTool]):
    """What Responses has."""

    include: Annotated[list[Name], Field(max_length=MAX_INCLUDED)] | None = None
    top_logprobs: TopLogprobs | None = None
    max_output_tokens: MaxTokens | None = None
    truncation: Truncation | None = None
    reasoning: ReasoningParameters | None = None
    text: TextParameters | None = None

    def parameters(self, agent: AgentProfile) -> Iterator[Parameter]:
        """Yield what the client has set."""
        yield from super().parameters(agent)
        yield Parameter("max_output_tokens", "max_output_tokens", self.max_output_tokens)
        yield Parameter("truncation", "truncation", self.truncation)
        if self.top_logprobs or LOGPROBS in (self.include or ()):
            yield Parameter("top_logprobs", "top_logprobs", self.top_logprobs or 0)
        if self.reasoning is not None:
            yield Parameter("reasoning_effort", "reasoning.effort", self.reasoning.effort)
        if self.text is not None:
            yield Parameter("verbosity", "text.verbosity", self.text.verbosity)
            format_ = self.text.format
            if format_ is not None:
                yield Parameter("output", "text.format", to_format(format_.type, format_, "text.format"))


def to_format(type: FormatType, json_schema: JsonSchemaFormat | None, place: str) -> OutputFormat | None:
    """Return the format of an answer: none for text, any object for `json_object`."""
    if type == "text":
        return None
    if type == "json_object":
        return OutputFormat(type=type, json_schema={"type": "object"})
    if json_schema is None:
        raise InvalidParameter(place, "Give the JSON schema of the answer.")
    return json_schema.to_format(f"{place}.schema")
