"""Which addresses may be called with something secret."""

import httpx2

from chat_agent.clients.public_http import PRIVATE_HOSTS_HINT
from chat_agent.mcp_servers.errors import InvalidMcpServer


def check_encrypted(url: str, private_hosts: frozenset[str]) -> None:
    """Raise InvalidMcpServer for plain HTTP, unless it is a host that the operator allows."""
    parts = httpx2.URL(url)
    is_private = f"{parts.host}:{parts.port or 80}" in private_hosts
    if (parts.scheme != "https" and not (parts.scheme == "http" and is_private)) or parts.userinfo:
        raise InvalidMcpServer(f"The address of an MCP server begins with https://. {PRIVATE_HOSTS_HINT}")
