"""The tools of MCP servers that an agent may call, and what is wrong with a definition that names them."""

from collections.abc import Iterator, Mapping, Sequence

from agents import FunctionTool

from chat_agent.agents.approvals import Policy, approval_policy
from chat_agent.agents.tool import MAX_OUTPUT, Limits, guarded
from chat_agent.mcp_servers.access import McpAccess
from chat_agent.mcp_servers.calls import McpToolCaller
from chat_agent.mcp_servers.definition import McpUse
from chat_agent.mcp_servers.registered import RegisteredServer
from chat_agent.mcp_servers.server_tools import ServerTool
from chat_agent.mcp_servers.sign_in_gate import SignInGate

Servers = Mapping[str, RegisteredServer]
# Of all servers of one agent; providers take 128 tools.
MAX_TOOLS = 100
# Reading the list of tools, and one repetition, also have their time.
OPERATIONS = 3
POLICIES: Mapping[str, Policy] = {"never": False, "always": True, "when_tainted": "when_tainted"}


def mcp_tools(uses: Sequence[McpUse], servers: Servers, access: McpAccess) -> list[FunctionTool]:
    """Return the tools of an agent; what is not there or has changed is left out."""
    registered = [(use, servers[use.server]) for use in uses if use.server in servers]
    return [
        function_tool(server, tool, access, policies(use, server, tool))
        for use, server in registered
        for tool in server.offered.values()
        if use.allow is None or tool.name in use.allow
    ][:MAX_TOOLS]


def policies(use: McpUse, server: RegisteredServer, tool: ServerTool) -> list[Policy]:
    """Return when a person allows a call: the server and the agent both decide."""
    names = (server.config.approval_of(tool.name), use.approval or "never")
    return [POLICIES[name] for name in names]


def function_tool(
    server: RegisteredServer, tool: ServerTool, access: McpAccess, asks: Sequence[Policy]
) -> FunctionTool:
    """Return a tool as the SDK takes it, limited and recorded."""
    policy = approval_policy(asks)
    plain = FunctionTool(
        name=tool.callable_name(server.name),
        description=tool.description or tool.title,
        params_json_schema={"properties": {}, **tool.input_schema},
        on_invoke_tool=McpToolCaller(access, server, tool),
        strict_json_schema=False,
        needs_approval=SignInGate(access, server, policy) if server.has_sign_in else policy,
    )
    limits = Limits(
        is_idempotent=tool.is_idempotent,
        seconds=server.config.timeout_seconds * OPERATIONS,
        retries=1 if tool.is_idempotent else 0,
        max_output=MAX_OUTPUT,
        is_trusted=server.config.trusted,
    )
    return guarded(plain, limits, counted_as="mcp")


def mcp_problems(uses: Sequence[McpUse], servers: Servers) -> Iterator[tuple[str, str]]:
    """Yield servers and tools that are not there, and approvals that are not the author's to drop."""
    names = [use.server for use in uses]
    for index, use in enumerate(uses):
        path = f"mcp[{index}]"
        if use.server in names[:index]:
            yield f"{path}.server", f"The MCP server {use.server!r} is named twice."
        if (server := servers.get(use.server)) is None:
            yield f"{path}.server", f"There is no MCP server called {use.server!r}."
            continue
        for position, tool in enumerate(use.allow or []):
            if tool not in server.offered:
                yield f"{path}.allow[{position}]", f"{use.server!r} has no confirmed tool called {tool!r}."
        names_used = server.offered if use.allow is None else use.allow
        is_required = any(server.config.approval_of(tool) != "never" for tool in names_used)
        if use.approval == "never" and is_required:
            yield f"{path}.approval", f"Tools of the MCP server {use.server!r} need an approval."
    used = [len(use.allow or servers[use.server].offered) for use in uses if use.server in servers]
    if sum(used) > MAX_TOOLS:
        yield "mcp", f"These are {sum(used)} tools, of at most {MAX_TOOLS}. Name the needed ones in `allow`."
