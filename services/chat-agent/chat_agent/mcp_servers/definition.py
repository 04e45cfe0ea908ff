"""What an MCP server of a tenant is made of."""

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints, model_validator
from servicekit.schemas import RequestModel, max_length

from chat_agent.agents.approvals import Approval
from chat_agent.clients.supplied_urls import form_problems
from chat_agent.schemas import storable_json
from chat_agent.tenant_secrets.schemas import SecretName, SecretReference

# Two underscores part it from the name of a tool.
NAME = re.compile("^[a-z](?:_?[a-z0-9]){0,29}$")
ServerName = Annotated[str, StringConstraints(pattern=NAME.pattern, max_length=30)]
HeaderName = Annotated[str, StringConstraints(pattern="^[A-Za-z][A-Za-z0-9-]{0,63}$")]
HeaderValue = Annotated[str, StringConstraints(pattern="^[!-~](?:[ -~]{0,998}[!-~])?$")]
RemoteToolName = Annotated[str, StringConstraints(min_length=1, max_length=128)]
# What the client sets itself, and what says to whom and how a request travels.
RESERVED_HEADERS = frozenset(
    {
        "accept",
        "accept-encoding",
        "connection",
        "content-encoding",
        "content-length",
        "content-type",
        "cookie",
        "expect",
        "forwarded",
        "host",
        "last-event-id",
        "proxy-authorization",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "via",
    }
)
RESERVED_PREFIXES = ("mcp-", "x-forwarded-")


def literal(value: str) -> str:
    """Refuse what looks like a variable of the environment: nothing is replaced in it."""
    if "${" in value:
        raise ValueError("must not contain `${`: variables of the environment are not replaced")
    return value


def http_url(value: str) -> str:
    """Refuse what is no address of a server, or has credentials or a fragment."""
    for problem in form_problems(value):
        raise ValueError(problem)
    if "#" in value:
        raise ValueError("The address must not have a fragment.")
    return value


Url = Annotated[
    str,
    StringConstraints(pattern="^[!-~]{1,2000}$"),
    AfterValidator(literal),
    AfterValidator(http_url),
    Field(json_schema_extra={"format": "uri"}),
]


class NoAuth(RequestModel):
    """The server takes requests of everybody."""

    type: Literal["none"] = "none"


class SecretAuth(RequestModel):
    """The server takes a token that is a secret of the tenant: `Authorization: Bearer …`."""

    type: Literal["secret"]
    secret: SecretName


Scope = Annotated[str, StringConstraints(pattern="^[!#-\\[\\]-~]{1,200}$")]


class OAuth(RequestModel):
    """Each person signs in, and the server gets a token of that person."""

    type: Literal["oauth"]
    redirect_uri: Url = Field(description="A page of the frontend, which completes the sign-in.")
    client_id: Annotated[str, StringConstraints(pattern="^[!-~]{1,500}$")] | None = Field(
        None, description="Without it, a client is registered with the authorization server."
    )
    client_secret: SecretReference | None = None
    scopes: list[Scope] = Field(
        default_factory=list, max_length=50, description="Without them, all that the server names."
    )


Auth = Annotated[NoAuth | SecretAuth | OAuth, Field(discriminator="type")]


class ToolPolicy(RequestModel):
    """How one tool of the server may be called."""

    approval: Approval


class ServerConfig(RequestModel):
    """An MCP server that is reached over streamable HTTP."""

    storable_members = model_validator(mode="before")(storable_json)

    url: Url
    transport: Literal["streamable_http"] = "streamable_http"
    headers: Annotated[
        dict[HeaderName, Annotated[HeaderValue, AfterValidator(literal)] | SecretReference],
        Field(max_length=16),
        BeforeValidator(max_length(16)),
    ] = Field(default_factory=dict, description='A value is a text, or `{"secret": name}`.')
    auth: Auth = NoAuth()
    approval: Approval = Field("never", description="`always`: a person allows each call of its tools.")
    tools: Annotated[
        dict[RemoteToolName, ToolPolicy], Field(max_length=128), BeforeValidator(max_length(128))
    ] = Field(default_factory=dict, description="Of single tools, by the server's names for them.")
    trusted: bool = Field(False, description="Its output is as good as the tenant's own text.")
    timeout_seconds: Annotated[int, Field(ge=1, le=120)] = 30
    check_after_seconds: Annotated[int, Field(ge=0, le=86_400)] = Field(
        300, description="A call reads the list of tools again when it was last read before that."
    )

    def approval_of(self, tool: str) -> Approval:
        """Return whether a person allows each call of a tool."""
        policy = self.tools.get(tool)
        return policy.approval if policy else self.approval

    @property
    def secret_headers(self) -> dict[str, SecretReference]:
        """The headers whose values contain secrets."""
        named = {name: one for name, one in self.headers.items() if isinstance(one, SecretReference)}
        if isinstance(self.auth, SecretAuth):
            named["Authorization"] = SecretReference(secret=self.auth.secret, prefix="Bearer ")
        return named

    @property
    def plain_headers(self) -> dict[str, str]:
        """The headers whose values are no secrets."""
        return {name: one for name, one in self.headers.items() if isinstance(one, str)}


class McpUse(RequestModel):
    """An MCP server of the tenant whose tools the agent may call."""

    server: Annotated[str, StringConstraints(max_length=64)]
    allow: list[Annotated[str, StringConstraints(max_length=128)]] | None = Field(
        None, max_length=128, description="The server's names of tools; without it, all that are confirmed."
    )
    approval: Approval | None = Field(
        None, description="`always`: a person allows each call. Without it as the server requires."
    )
