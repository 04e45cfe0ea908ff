"""The errors of MCP servers; where a call fails, the model reads the message of a `ToolFailed`."""

from servicekit.errors import Conflict, NotFound, Unavailable, Unprocessable

from chat_agent.errors import ToolFailed


class McpServerNotFound(NotFound):
    """The tenant has no such MCP server."""


class McpServerInUse(Conflict):
    """Agents name it."""


class TooManyMcpServers(Conflict):
    """The tenant has as many MCP servers as it may have."""

    default_detail = "This tenant has as many MCP servers as it may have. Delete one first."


class McpToolsOutdated(Conflict):
    """The server's tools are not those that the request confirms."""

    default_detail = "The server's tools have changed since. Read the server again before you confirm them."


class InvalidMcpServer(Unprocessable):
    """The address, a header or the approval of a tool of the server is not allowed."""


class McpServerUnavailable(Unavailable, ToolFailed):
    """The server does not answer, or not in time; a call that may be repeated is repeated."""

    tool_error = "tool_server_unavailable"


class InvalidMcpResponse(Unprocessable, ToolFailed):
    """What the server answers is not MCP, or more than is read."""

    tool_error = "tool_server_unavailable"


class McpAccessDenied(Unprocessable, ToolFailed):
    """The server refuses the credentials."""

    tool_error = "tool_access_denied"


class McpSignInRequired(Conflict, ToolFailed):
    """The person has to sign in for the server first, or again."""

    tool_error = "tool_access_denied"


class McpSignInFailed(Unprocessable, ToolFailed):
    """Nobody can sign in for the server, or the authorization server refuses."""

    tool_error = "tool_access_denied"


class McpSignInExpired(Conflict):
    """The sign-in was begun by somebody else, too long ago, or was completed before."""

    default_detail = "This sign-in is not open any more. Begin again."


class McpCallFailed(Unprocessable, ToolFailed):
    """The server answers with an error."""


class McpAccessForbidden(Unprocessable, ToolFailed):
    """The credentials do not allow this at the server: they may lack a scope."""

    tool_error = "tool_access_denied"
