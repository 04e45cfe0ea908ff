"""What a tenant's agent is made of. The API, the files of `acme agents` and the database share this form."""

import re
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, StringConstraints, model_validator
from servicekit.schemas import RequestModel, max_length

from chat_agent.agents.approvals import Approval
from chat_agent.compaction.policy import CompactionPolicy
from chat_agent.direct_models import ModelName
from chat_agent.documents import digest_of, small_json
from chat_agent.guardrails.config import AgentGuardrails
from chat_agent.mcp_servers.definition import McpUse
from chat_agent.memory.use import NO_MEMORY, MemoryUse
from chat_agent.runs.options import Effort, MaxTokens, Probability, RunOptions, Temperature, Verbosity
from chat_agent.schemas import VariableName, VariableValue, storable, storable_json

# `transfer_to_<name>` is the name of a tool, and has at most 64 characters.
NAME = re.compile("^[a-z][a-z0-9_]{0,49}$")
AgentName = Annotated[str, StringConstraints(pattern=NAME.pattern)]
ToolName = Annotated[str, StringConstraints(pattern="^[a-zA-Z0-9_-]{1,64}$")]
Sentence = Annotated[str, StringConstraints(max_length=500), AfterValidator(storable)]
MAX_INSTRUCTIONS = 20_000
PLACEHOLDER = re.compile(r"\{\{ ?([a-z][a-z0-9_]{0,49}) ?\}\}")

TYPES: dict[str, type | tuple[type, ...]] = {
    "string": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
}
# What says a value that is no text, as JSON writes it.
TEXTS = {
    "integer": re.compile(r"-?(0|[1-9]\d{0,14})", re.ASCII),
    "number": re.compile(r"-?(0|[1-9]\d{0,14})(\.\d{1,15})?", re.ASCII),
    "boolean": re.compile("true|false"),
}


class Variable(RequestModel):
    """A value that the instructions name as `{{name}}`."""

    type: Literal["string", "integer", "number", "boolean"] = "string"
    description: Sentence = ""
    default: VariableValue | None = Field(None, description="Without one, each run must give a value.")

    def accepts(self, value: object) -> bool:
        """Return whether a value is of its type."""
        return isinstance(value, TYPES[self.type]) and (self.type == "boolean") == isinstance(value, bool)

    def can_read(self, value: object) -> bool:
        """Return whether a value is of its type, or a text that says one: typed clients send texts alone."""
        if self.type != "string" and isinstance(value, str):
            return TEXTS[self.type].fullmatch(value) is not None
        return self.accepts(value)


class Settings(RequestModel):
    """How the model samples and how long it answers; a caller's own parameters take precedence."""

    temperature: Temperature | None = None
    top_p: Probability | None = None
    max_output_tokens: MaxTokens | None = None
    reasoning_effort: Effort | None = None
    verbosity: Verbosity | None = None
    parallel_tool_calls: bool | None = None

    def to_options(self) -> RunOptions:
        """Return them as options of a run."""
        return RunOptions(**self.model_dump(exclude_none=True))


class ToolUse(RequestModel):
    """A tool of the service, or an HTTP tool of the tenant, that the agent may call."""

    name: ToolName
    approval: Approval | None = Field(
        None,
        description="`always`: a person allows each call; `when_tainted`: each after untrusted content was "
        "read. Without it as the tool itself requires.",
    )
    digest: Annotated[str, StringConstraints(pattern="^sha256:[0-9a-f]{64}$")] | None = Field(
        None, description="The version of an HTTP tool; without it, the newest when the definition is saved."
    )


class Limits(RequestModel):
    """What a run of the agent may use, within the limits of the service."""

    turns: Annotated[int, Field(ge=1, le=1000)] | None = None
    seconds: Annotated[int, Field(ge=1, le=86_400)] | None = None
    tokens: Annotated[int, Field(ge=1, le=100_000_000)] | None = None


class AgentDefinition(RequestModel):
    """An agent of a tenant."""

    model_config = ConfigDict(frozen=True)

    # Wherever in it: names of tools and servers are texts of others, too.
    storable_members = model_validator(mode="before")(storable_json)

    schema_version: Literal[1] = 1
    description: Sentence = Field("", description="What it is for; other agents read it, too.")
    instructions: Annotated[
        str, StringConstraints(min_length=1, max_length=MAX_INSTRUCTIONS), AfterValidator(storable)
    ] = Field(description="What the model is told; `{{name}}` is replaced by the value of a variable.")
    variables: Annotated[
        dict[VariableName, Variable], Field(max_length=50), BeforeValidator(max_length(50))
    ] = Field(default_factory=dict)
    model: ModelName | None = Field(None, description="`provider/model`; without it the service's default.")
    fallbacks: list[ModelName] = Field(
        default_factory=list, max_length=3, description="Models that stand in where it does not answer."
    )
    settings: Settings = Settings()
    tools: list[ToolUse] = Field(default_factory=list, max_length=64)
    mcp: list[McpUse] = Field(default_factory=list, max_length=16, description="MCP servers of the tenant.")
    handoffs: list[AgentName] = Field(
        default_factory=list, max_length=32, description="Agents to which it may hand over."
    )
    as_tools: list[AgentName] = Field(
        default_factory=list, max_length=32, description="Agents that it calls as tools, each by its name."
    )
    output_schema: Annotated[dict[str, Any], BeforeValidator(small_json)] | None = Field(
        None, description="The JSON schema of its answers."
    )
    limits: Limits = Limits()
    memory: MemoryUse = NO_MEMORY
    compaction: CompactionPolicy | None = Field(
        None,
        description="When long conversations are summarized; without it as the service does: never.",
    )
    guardrails: AgentGuardrails | None = Field(
        None, description="What is checked beside the guardrails of the service, in openai-guardrails' form."
    )
    starters: list[Sentence] = Field(
        default_factory=list, max_length=8, description="What a person may begin with."
    )
    visibility: Literal["tenant", "internal"] = Field(
        "tenant", description="`internal`: only other agents reach it, by a handoff or as a tool."
    )

    def stored(self) -> dict[str, Any]:
        """Return what is stored: the members that are set, and the version of this form."""
        members = self.model_dump(mode="json", exclude_defaults=True)
        return {"schema_version": self.schema_version, **members}

    @cached_property
    def digest(self) -> str:
        """The digest of what it means: two definitions that mean the same have the same.

        The order of members counts among the properties of a schema alone.
        """
        return digest_of(self.stored())

    @property
    def mcp_servers(self) -> set[str]:
        """The names of the MCP servers whose tools it may call."""
        return {use.server for use in self.mcp}

    @property
    def neighbours(self) -> tuple[str, ...]:
        """The agents that it reaches directly, by a handoff or as a tool."""
        return (*self.handoffs, *self.as_tools)


def placeholders(instructions: str) -> list[str]:
    """Return the names of variables in instructions, in their order."""
    return PLACEHOLDER.findall(instructions)
