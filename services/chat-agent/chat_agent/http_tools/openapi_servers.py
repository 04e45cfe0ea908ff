"""The address of the server that an OpenAPI document names."""

import re
from typing import Any

from chat_agent.http_tools.definition import PLACEHOLDER
from chat_agent.http_tools.openapi_schemas import mapping_in
from chat_agent.http_tools.problems import DocumentProblem

# Of an address, and of what stands in it for a variable.
MAX_URL = 1000


def server_url(server: Any, path: str) -> str:
    """Return the address of a server, with the defaults of its variables."""
    url = server.get("url") if isinstance(server, dict) else None
    if not isinstance(url, str):
        raise DocumentProblem(path, "A server must have a `url`.")
    if len(url) > MAX_URL:
        raise DocumentProblem(f"{path}.url", f"An address has at most {MAX_URL} characters.")
    # Each once: what stands in a default is not replaced again.
    url = PLACEHOLDER.sub(lambda match: default_of(server.get("variables"), match[1], path), url)
    if not re.match("[a-zA-Z]+://", url):
        raise DocumentProblem(f"{path}.url", "The address of the server must be absolute.")
    return url.rstrip("/")


def default_of(variables: Any, name: str, path: str) -> str:
    """Return the default of a variable of a server."""
    variable = mapping_in(variables, name) if isinstance(variables, dict) else {}
    default = variable.get("default")
    if not isinstance(default, str) or len(default) > MAX_URL:
        raise DocumentProblem(f"{path}.variables", f"The variable {name[:64]!r} must have a short default.")
    return default
