"""The schemas of requests and responses about agents that are data."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue
from servicekit.schemas import Cursor, InvalidCursor, Limit, RequestModel, decode_cursor

from chat_agent.agent_definitions.definition import AgentDefinition, AgentName, Sentence
from chat_agent.documents import DefinitionProblem
from chat_agent.schemas import Message, Usage, Variables

# Of a tenant.
MAX_AGENTS = 200
VersionNumber = Annotated[int, Field(ge=1, lt=2**31)]


class Draft(RequestModel):
    """A definition to store as the draft of an agent."""

    definition: AgentDefinition
    note: Sentence = Field("", description="Why it was changed, for whoever reads the versions.")


class DryRun(RequestModel):
    """A message that a definition answers once; none of its tools is called."""

    message: Message
    variables: Variables = Field({}, description="Values that the instructions name.")
    definition: AgentDefinition | None = Field(None, description="Without it, the draft.")


class DryRunCall(BaseModel):
    """A call of a tool that the model wanted to make, or a handoff."""

    call_id: str
    name: str
    arguments: str = Field(description="As the model wrote them, in JSON.")


class DryRunAnswer(BaseModel):
    """What a definition answered, or which calls it made first."""

    text: str
    calls: list[DryRunCall]
    agent: str
    model: str
    usage: Usage


class AgentDocument(Draft):
    """An agent with its name, as in a file of `acme agents apply`."""

    name: AgentName


class Publication(RequestModel):
    """Which version answers from now on."""

    version: VersionNumber | None = Field(None, description="Without it the draft, or else the canary.")
    percentage: Annotated[int, Field(ge=1, le=100)] = Field(
        100, description="Of the conversations; below 100 it is a canary beside the stable version."
    )


class Rollback(RequestModel):
    """To which version an agent is rolled back."""

    version: VersionNumber | None = Field(
        None, description="Without it: ends the canary, or else the version published before."
    )


class Application(RequestModel):
    """Agents to publish and to delete together, all or none."""

    agents: list[AgentDocument] = Field([], max_length=MAX_AGENTS)
    delete: list[AgentName] = Field(
        [], max_length=MAX_AGENTS, description="Agents to delete; those that stay must not reach them."
    )
    dry_run: bool = Field(True, description="Only say what would change.")
    plan: Annotated[str, Field(max_length=80)] | None = Field(
        None, description="The `digest` of the plan that was confirmed; another plan is refused."
    )


class ElementChange(BaseModel):
    """What became of an element of a list; one that was changed and moved is there twice."""

    change: Literal["added", "removed", "changed", "moved"]
    name: str = Field(description="Its `name` or `server`; a text is its own name.")
    index_before: int | None = None
    index_after: int | None = None
    changes: list["Change"] = Field([], description="In which of its members it differs.")


class Change(BaseModel):
    """A member of a definition that differs."""

    path: str
    before: JsonValue = None
    after: JsonValue = None
    elements: Annotated[list[ElementChange], Field(exclude_if=lambda elements: not elements)] = Field(
        [], description="Of lists whose elements have names; of the properties of a schema, those that moved."
    )


class PlannedAgent(BaseModel):
    """What becomes of one agent."""

    name: str
    action: Literal["create", "update", "unchanged", "delete"]
    version: int | None = Field(description="The version that answers, before or after.")
    changes: list[Change]


class Plan(BaseModel):
    """What becomes of all agents that were named."""

    digest: str
    applied: bool
    agents: list[PlannedAgent]


class VersionSummary(BaseModel):
    """A version in a list."""

    model_config = ConfigDict(from_attributes=True)

    number: int
    state: Literal["draft", "published", "retired"]
    digest: str
    schema_version: int
    note: str
    created_by: str
    created_at: datetime
    published_at: datetime | None


class Version(VersionSummary):
    """A version with its definition."""

    definition: dict[str, Any]


class ReleasedVersion(BaseModel):
    """A version that answers."""

    version: int
    digest: str
    percentage: int


class AgentDetail(BaseModel):
    """An agent of the tenant: which versions answer, and whether there is a draft."""

    name: str
    created_by: str
    created_at: datetime
    stable: ReleasedVersion | None
    canary: ReleasedVersion | None
    draft: int | None = Field(description="The number of the draft.")
    latest: int = Field(description="The number of the newest version.")


class Validation(BaseModel):
    """Whether a definition may be published."""

    valid: bool
    problems: list[DefinitionProblem]


class Diff(BaseModel):
    """How two versions differ."""

    before: int
    after: int
    changes: list[Change]


class VersionPage(BaseModel):
    """Which page of the versions."""

    model_config = ConfigDict(extra="forbid")

    limit: Limit = 20
    cursor: Cursor = None

    def before(self) -> int | None:
        """Return the number that the page stands before; raises InvalidCursor."""
        if self.cursor is None:
            return None
        (number,) = decode_cursor(self.cursor, int)
        if not isinstance(number, int) or not 0 < number < 2**31:
            raise InvalidCursor
        return number
