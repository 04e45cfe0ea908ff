"""The schemas of requests and responses about MCP servers."""

from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, Field
from servicekit.schemas import RequestModel

from chat_agent.mcp_servers.registered import RegisteredServer
from chat_agent.mcp_servers.server_tools import ServerTool, ToolChange, changes_between, digest_of_tools
from chat_agent.mcp_servers.tables import McpServer
from chat_agent.schemas import storable

State = Literal["unconfirmed", "confirmed", "changed"]


class Confirmation(RequestModel):
    """Which list of tools is confirmed."""

    digest: Annotated[str, Field(max_length=80)] | None = Field(
        None, description="`tools_digest` of the list that was looked at; another list is refused."
    )


class SignInStatus(BaseModel):
    """Whether the person has signed in for a server."""

    server: str
    state: Literal["connected", "needs_login", "revoked"]


class ExportedSignIn(SignInStatus):
    """A person's sign-in in an export."""

    created_at: datetime
    updated_at: datetime


class SignInStart(BaseModel):
    """Where the person signs in."""

    authorization_url: str = Field(description="To open in the browser of the person.")
    expires_at: datetime


class SignInResponse(RequestModel):
    """With which query the authorization server has sent the person back to the `redirect_uri`."""

    state: Annotated[str, Field(min_length=1, max_length=200), AfterValidator(storable)]
    code: Annotated[str, Field(min_length=1, max_length=8000), AfterValidator(storable)] | None = Field(
        None, description="Missing where it was not granted."
    )
    iss: Annotated[str, Field(max_length=2000), AfterValidator(storable)] | None = None


class RegisteredTool(ServerTool):
    """A tool of a server, and its name for models."""

    model_name: str = Field(description="By which models call it.")

    @classmethod
    def describe(cls, server: str, tool: ServerTool) -> Self:
        """Describe a tool."""
        return cls(**tool.model_dump(), model_name=tool.callable_name(server))


class ServerSummary(BaseModel):
    """An MCP server in a list."""

    name: str
    url: str
    state: State = Field(description="`changed`: tools differ from what was confirmed, and are not called.")
    protocol: str | None = Field(description="The version that it speaks.")
    created_by: str
    created_at: datetime
    updated_at: datetime
    checked_at: datetime | None = Field(description="When its list of tools was read last.")
    confirmed_at: datetime | None

    @classmethod
    def members(cls, row: McpServer, server: RegisteredServer) -> dict[str, object]:
        """Return what is alike in a list and by itself."""
        names = ("name", "protocol", "created_by", "created_at", "updated_at", "checked_at", "confirmed_at")
        return {"url": server.config.url, "state": server.state, **{one: getattr(row, one) for one in names}}

    @classmethod
    def summarize(cls, row: McpServer) -> "ServerSummary":
        """Describe a server in a list."""
        return ServerSummary.model_validate(cls.members(row, RegisteredServer.of(row)))


class ServerDetail(ServerSummary):
    """An MCP server with its tools."""

    config: dict[str, Any] = Field(description="As it was registered, with all defaults.")
    tools: list[RegisteredTool] = Field(description="As they were confirmed.")
    changes: list[ToolChange] = Field(description="How the list that was read last differs from that.")
    tools_digest: str = Field(description="Of the list that was read last.")

    @classmethod
    def describe(cls, row: McpServer) -> Self:
        """Describe a server."""
        server = RegisteredServer.of(row)
        confirmed = list(server.tools.values())
        current = confirmed if server.changed_tools is None else list(server.changed_tools.values())
        return cls.model_validate(
            {
                **cls.members(row, server),
                "config": server.config.model_dump(mode="json"),
                "tools": [RegisteredTool.describe(row.name, tool) for tool in confirmed],
                "changes": changes_between(confirmed, current),
                "tools_digest": digest_of_tools(current),
            }
        )
