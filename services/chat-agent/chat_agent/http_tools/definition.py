"""What a tenant's HTTP tool is made of. The API and the database share this form."""

import re
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, JsonValue, StringConstraints
from servicekit.schemas import RequestModel, max_length

from chat_agent.agents.approvals import Approval
from chat_agent.documents import digest_of, small_json
from chat_agent.model.schema_validation import SchemaValidator
from chat_agent.schemas import storable
from chat_agent.tenant_secrets.schemas import SecretReference

HttpToolName = Annotated[str, StringConstraints(pattern="^[a-z][a-z0-9_]{0,63}$")]
# What every provider takes as the name of a property.
ARGUMENT = re.compile("^[a-zA-Z0-9_.-]{1,64}$")
ArgumentName = Annotated[str, StringConstraints(pattern=ARGUMENT.pattern)]
HeaderName = Annotated[str, StringConstraints(pattern="^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}$")]
WireName = Annotated[str, StringConstraints(min_length=1, max_length=100), AfterValidator(storable)]
Text = Annotated[
    str, StringConstraints(max_length=1000, pattern=r"^[^\x00-\x1f\x7f]*$"), AfterValidator(storable)
]
JsonSchema = Annotated[dict[str, Any], BeforeValidator(small_json)]
Location = Literal["path", "query", "header", "body", "whole_body"]
MAX_SECONDS = 60
MAX_OUTPUT = 50_000
SAFE_METHODS = {"GET", "HEAD"}
PLACEHOLDER = re.compile(r"\{([^{}]*)\}")


Value = Text | SecretReference


class Endpoint(RequestModel):
    """A request as a tool makes it, and where each argument stands in it."""

    method: Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"] = "GET"
    url: Text = Field(
        description="With `{placeholders}` in its path for arguments.",
        json_schema_extra={"format": "uri-template"},
    )
    parameters: JsonSchema = Field(
        default_factory=lambda: {"type": "object", "properties": {}},
        description="The JSON schema of the arguments.",
    )
    locations: Annotated[
        dict[ArgumentName, Location], Field(max_length=100), BeforeValidator(max_length(100))
    ] = Field(
        default_factory=dict,
        description="Where an argument stands. Without it: in the path where the URL names it, else in the "
        "query of GET, HEAD and DELETE, and in the JSON body of other methods.",
    )
    names: Annotated[
        dict[ArgumentName, WireName], Field(max_length=100), BeforeValidator(max_length(100))
    ] = Field(default_factory=dict, description="What the server calls an argument, where that differs.")

    @property
    def properties(self) -> dict[str, Any]:
        """The schemas of the arguments by name."""
        properties = self.parameters.get("properties")
        return properties if isinstance(properties, dict) else {}

    @property
    def placeholders(self) -> list[str]:
        """The arguments that the URL names."""
        return PLACEHOLDER.findall(self.url)

    def location(self, argument: str) -> Location:
        """Return where an argument stands."""
        if argument in self.placeholders:
            return "path"
        default: Location = "query" if self.method in {*SAFE_METHODS, "DELETE"} else "body"
        return self.locations.get(argument, default)

    def wire_name(self, argument: str) -> str:
        """Return what the server calls an argument."""
        return self.names.get(argument, argument)


class ToolMembers(RequestModel):
    """What a tool has beside its endpoint."""

    model_config = ConfigDict(frozen=True)

    operation_id: Annotated[str, StringConstraints(max_length=200), AfterValidator(storable)] | None = Field(
        None, description="The operation of the OpenAPI document."
    )
    headers: Annotated[dict[HeaderName, Value], Field(max_length=20), BeforeValidator(max_length(20))] = (
        Field(default_factory=dict, description="Sent with each call, unknown to the model.")
    )
    query: Annotated[dict[WireName, Value], Field(max_length=20), BeforeValidator(max_length(20))] = Field(
        default_factory=dict, description="Parameters of the query of each call, unknown to the model."
    )
    fixed_arguments: Annotated[
        dict[ArgumentName, JsonValue],
        Field(max_length=50),
        BeforeValidator(max_length(50)),
        BeforeValidator(small_json),
    ] = Field(default_factory=dict, description="Arguments with values of the author, unknown to the model.")
    timeout_seconds: Annotated[int, Field(ge=1, le=MAX_SECONDS)] = 15
    max_output: Annotated[int, Field(ge=1, le=MAX_OUTPUT)] = Field(
        MAX_OUTPUT, description="In characters; a longer output is cut."
    )
    idempotent: bool | None = Field(
        None, description="Whether a call may be repeated. Without it: that of GET and HEAD."
    )
    approval: Approval | JsonSchema = Field(
        "never",
        description="When a person is asked. With a JSON schema, before calls whose arguments match it; "
        "`when_tainted`: after untrusted content was read.",
    )
    audience: Literal["everyone", "members"] = Field(
        "everyone", description="`members`: not for the end users of applications."
    )
    trusted: bool = Field(False, description="Whether what the server answers counts as trusted.")

    @property
    def values(self) -> dict[str, Value]:
        """The values of the author, by their path in the document."""
        parts = {"headers": self.headers, "query": self.query}
        return {f"{part}.{name}": value for part, values in parts.items() for name, value in values.items()}

    @property
    def secrets(self) -> set[str]:
        """The names of the secrets that a call needs."""
        return {value.secret for value in self.values.values() if isinstance(value, SecretReference)}


Description = Annotated[str, StringConstraints(max_length=2000), AfterValidator(storable)]


class HttpTool(ToolMembers):
    """A tool, as it is stored and called."""

    description: Description
    endpoint: Endpoint

    def stored(self) -> dict[str, Any]:
        """Return what is stored: the members that are set."""
        return self.model_dump(mode="json", exclude_defaults=True)

    @cached_property
    def digest(self) -> str:
        """The digest of what it means."""
        return digest_of(self.stored())

    @property
    def is_idempotent(self) -> bool:
        """Whether a call may be repeated."""
        return self.endpoint.method in SAFE_METHODS if self.idempotent is None else self.idempotent

    @cached_property
    def model_schema(self) -> dict[str, Any]:
        """The schema of the arguments that are the model's."""
        schema = {"type": "object", **self.endpoint.parameters}
        own = {
            name: one for name, one in self.endpoint.properties.items() if name not in self.fixed_arguments
        }
        required = [name for name in schema.get("required", []) if name in own]
        return {**schema, "properties": own, "required": required, "additionalProperties": False}

    @cached_property
    def validator(self) -> SchemaValidator:
        """What the arguments of the model are validated by."""
        return SchemaValidator(self.model_schema)


class ToolDocument(ToolMembers):
    """A tool, as it is registered: an endpoint, or an operation of an OpenAPI document."""

    description: Description = Field(
        "", description="What the model reads. Without it, the summary of the operation."
    )
    endpoint: Endpoint | None = None
    openapi: Annotated[dict[str, Any], BeforeValidator(max_length(100))] | None = Field(
        None, description="An OpenAPI document of version 3.0 or 3.1, with all that it refers to."
    )
