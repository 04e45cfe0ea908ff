"""What the caller of a run sets for its models: how they sample, how long and in what form they answer."""

from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Any, Literal

from agents import ModelSettings
from openai.types.shared import Reasoning
from pydantic import BaseModel, ConfigDict, Field

Temperature = Annotated[float, Field(ge=0, le=2)]
Probability = Annotated[float, Field(ge=0, le=1)]
Penalty = Annotated[float, Field(ge=-2, le=2)]
MaxTokens = Annotated[int, Field(ge=1, le=1_000_000)]
Seed = Annotated[int, Field(ge=-(2**63), lt=2**63)]
Bias = Annotated[float, Field(ge=-100, le=100)]
Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh"]
# How many choices of a completion there may be.
Choices = Annotated[int, Field(ge=1, le=8)]
TopLogprobs = Annotated[int, Field(ge=0, le=20)]
Verbosity = Literal["low", "medium", "high"]
Truncation = Literal["auto", "disabled"]
# What changes the agents of a run or their number, and not the settings of their models.
NOT_SETTINGS = {"n", "output", "tools", "variables"}
# What the SDK has no setting for and passes on as it is.
EXTRA_ARGUMENTS = frozenset({"stop", "seed", "logit_bias", "service_tier", "prompt_cache_key"})


class OutputFormat(BaseModel):
    """The JSON that an answer has to be."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    type: Literal["json_object", "json_schema"] = "json_schema"
    name: str = "answer"
    json_schema: dict[str, Any]
    # Whether the provider is to enforce the schema.
    is_strict: bool = False


class ClientTool(BaseModel):
    """A function that the caller executes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    # What models call it.
    name: str
    # What its caller says of it, if anything; models read more: see `model_description`.
    description: str | None = None
    parameters: dict[str, Any]
    is_strict: bool = False
    # What its caller calls it, in which namespace, where that differs.
    client_name: str | None = None
    namespace: str | None = None
    namespace_description: str | None = None
    # Of a custom tool, whose caller expects one text in place of arguments: what OpenAI calls its format;
    # empty where its caller names none.
    input_format: dict[str, Any] | None = None

    @property
    def model_description(self) -> str:
        """What models read of it: also what is said of its namespace, and the grammar of its input."""
        parts = (self.namespace_description, self.description, grammar_rule(self.input_format or {}))
        return "\n".join(part for part in parts if part)


def grammar_rule(input_format: Mapping[str, Any]) -> str:
    """Return the rule that models read in place of a grammar, and may fail to keep; nothing without one."""
    if input_format.get("type") != "grammar":
        return ""
    return f"`input` has to match this grammar ({input_format['syntax']}):\n{input_format['definition']}"


class RunOptions(BaseModel):
    """The options of one run; what is not set is the agent's or the model's own."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    temperature: Temperature | None = None
    top_p: Probability | None = None
    max_output_tokens: MaxTokens | None = None
    stop: list[str] | None = None
    seed: Seed | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    logit_bias: dict[str, Bias] | None = None
    reasoning_effort: Effort | None = None
    verbosity: Verbosity | None = None
    service_tier: str | None = None
    truncation: Truncation | None = None
    prompt_cache_key: str | None = None
    # Of each token that log probability, and those of so many alternatives; without it, none.
    top_logprobs: TopLogprobs | None = None
    # How many runs answer the request.
    n: Choices | None = None
    output: OutputFormat | None = None
    tools: list[ClientTool] = []
    tool_choice: str | None = None
    parallel_tool_calls: bool | None = None
    # Of agents that are data: the values that their instructions name.
    variables: dict[str, str | int | float | bool] = {}

    @property
    def tool_names(self) -> frozenset[str]:
        """Return the names of the caller's tools."""
        return frozenset(tool.name for tool in self.tools)

    def of_choice(self, index: int) -> "RunOptions":
        """Return the options of one of several choices: with the same seed all would be the same."""
        if self.seed is None or not index:
            return self
        return self.model_copy(update={"seed": self.seed ^ index})

    @cached_property
    def model_settings(self) -> ModelSettings | None:
        """The SDK's settings, which take precedence over the agent's own; none where nothing is set."""
        if self.model_fields_set <= NOT_SETTINGS:
            return None
        values = self.model_dump(exclude_none=True, exclude=NOT_SETTINGS)
        effort, max_tokens = values.pop("reasoning_effort", None), values.pop("max_output_tokens", None)
        extra = {name: values.pop(name) for name in EXTRA_ARGUMENTS & values.keys()}
        return ModelSettings(
            **values,
            max_tokens=max_tokens,
            reasoning=Reasoning(effort=effort) if effort else None,
            extra_args=extra or None,
        )


NO_OPTIONS = RunOptions()
