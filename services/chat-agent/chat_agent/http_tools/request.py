"""Makes the request of a call: each argument in its place, and the values of the author."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlencode

import httpx2
import orjson

from chat_agent.errors import ToolFailed
from chat_agent.http_tools.definition import PLACEHOLDER, Endpoint, HttpTool, Value
from chat_agent.tenant_secrets.schemas import SecretReference

JSON = {"Content-Type": "application/json"}
ACCEPT = {"Accept": "application/json, text/*;q=0.5"}


@dataclass
class Parts:
    """The parts of a request, as they are collected."""

    path: dict[str, str] = field(default_factory=dict)
    query: list[tuple[str, str]] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)
    body: dict[str, Any] = field(default_factory=dict)
    whole_body: Any = None
    has_body: bool = False


def build_request(
    http: httpx2.AsyncClient, tool: HttpTool, arguments: Mapping[str, Any], secrets: Mapping[str, str]
) -> httpx2.Request:
    """Return the request of a call; raises ToolFailed for arguments that no request can have."""
    endpoint = tool.endpoint
    parts = Parts()
    for name, value in {**arguments, **tool.fixed_arguments}.items():
        place(endpoint, parts, name, value)
    parts.headers |= {name: value_of(one, secrets) for name, one in tool.headers.items()}
    parts.query += [(name, value_of(one, secrets)) for name, one in tool.query.items()]
    url = PLACEHOLDER.sub(lambda match: parts.path[match[1]], endpoint.url)
    if parts.query:
        url = f"{url}?{urlencode(parts.query, quote_via=quote)}"
    body = parts.whole_body if parts.whole_body is not None else parts.body
    return http.build_request(
        endpoint.method,
        url,
        headers=encoded({**ACCEPT, **(JSON if parts.has_body else {}), **parts.headers}),
        content=orjson.dumps(body) if parts.has_body else None,
        # The deadline of the tool ends a call.
        timeout=httpx2.Timeout(None, connect=min(tool.timeout_seconds, 5)),
    )


def place(endpoint: Endpoint, parts: Parts, name: str, value: Any) -> None:
    """Put an argument in its place."""
    wire_name = endpoint.wire_name(name)
    match endpoint.location(name):
        case "path":
            parts.path[name] = segment(name, value)
        case "query":
            values = value if isinstance(value, list) else [value]
            parts.query += [(wire_name, text_of(name, one)) for one in values if one is not None]
        case "header":
            if value is not None:
                parts.headers[wire_name] = joined(name, value)
        case "whole_body":
            parts.whole_body, parts.has_body = value, True
        case "body":
            parts.body[wire_name], parts.has_body = value, True


def segment(name: str, value: Any) -> str:
    """Return an argument as one segment of a path; raises ToolFailed for what would lead elsewhere."""
    text = joined(name, value)
    if text in {"", ".", ".."}:
        raise ToolFailed(f"The argument {name!r} must not be {text!r}.")
    return quote(text, safe="")


def joined(name: str, value: Any) -> str:
    """Return a list as a text."""
    return ",".join(text_of(name, one) for one in (value if isinstance(value, list) else [value]))


def text_of(name: str, value: Any) -> str:
    """Return a value as it stands in an address or a header; raises ToolFailed."""
    match value:
        case bool():
            return str(value).lower()
        case str() | int() | float():
            return str(value)
    raise ToolFailed(f"The argument {name!r} must be a text, a number, or a list of them.")


def value_of(value: Value, secrets: Mapping[str, str]) -> str:
    """Return a value of the author."""
    return value.value(secrets) if isinstance(value, SecretReference) else value


def encoded(headers: Mapping[str, str]) -> dict[bytes, bytes]:
    """Return headers as they are sent; raises ToolFailed, which does not quote the value."""
    for name, value in headers.items():
        if any(ord(one) < 32 or ord(one) == 127 for one in value) or value != value.strip():
            raise ToolFailed(f"The header {name!r} has characters that no header may have.")
    return {name.encode(): value.encode() for name, value in headers.items()}
