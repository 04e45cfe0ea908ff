"""The client of one MCP server over streamable HTTP, in both generations of the protocol.

Since 2026-07-28 each request stands alone. Before, `initialize` begins a session; ours serve one operation.
"""

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

import httpx2
from mcp.shared.inbound import encode_header_value
from opentelemetry import propagate

from chat_agent.clients.public_http import PRIVATE_HOSTS_HINT, RequestForbidden, ResponseTooLarge
from chat_agent.clients.tenant_http import TooManyRequests
from chat_agent.errors import ToolFailed
from chat_agent.mcp_servers.errors import (
    InvalidMcpResponse,
    McpAccessDenied,
    McpAccessForbidden,
    McpCallFailed,
    McpServerUnavailable,
)
from chat_agent.mcp_servers.messages import (
    Json,
    MessageStream,
    is_response,
    is_stream,
    parse,
    reply_to,
    result_of,
)
from chat_agent.mcp_servers.oauth_metadata import scopes_in

STATELESS = "2026-07-28"
NEWEST_WITH_SESSIONS = "2025-11-25"
WITH_SESSIONS = frozenset({"2024-11-05", "2025-03-26", "2025-06-18", NEWEST_WITH_SESSIONS})
CLIENT_INFO = {"name": "acme", "version": "1"}
ACCEPT = "application/json, text/event-stream"
META = "io.modelcontextprotocol/"
MAX_PAGES = 20
MAX_LOCATION = 200
# How an address answers at which nothing speaks streamable HTTP.
NO_ENDPOINT = frozenset({HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED})
TRANSPORT_HINT = "Its address must be that of streamable HTTP; the older HTTP+SSE is not supported."
# Of what is sent beside a request: that a session ends, and answers to the server.
SHORT_SECONDS = 2.0
# After these a stream goes on where it has stopped, if the server has said where.
INTERRUPTIONS = (httpx2.NetworkError, httpx2.RemoteProtocolError)
MAX_TOOLS = 128


@dataclass(frozen=True)
class McpClient:
    """Makes requests of one server with the credentials of one caller."""

    http: httpx2.AsyncClient
    url: str
    headers: Mapping[str, str]
    # Of one operation, however many requests it takes.
    seconds: float

    async def list_tools(self) -> tuple[str, list[Json]]:
        """Return the version of the protocol that the server speaks, and its tools.

        Raises McpServerUnavailable, McpAccessDenied, McpAccessForbidden, InvalidMcpResponse, McpCallFailed.
        """
        with self._failures():
            async with asyncio.timeout(self.seconds), self._connection(await self._version()) as connection:
                return connection.version, [tool async for tool in self._tools(connection)]

    async def call_tool(
        self, version: str, name: str, arguments: Json, parameters: Mapping[str, str]
    ) -> Json:
        """Return the result of a call; `parameters` are the headers that mirror arguments.

        Raises McpServerUnavailable, McpAccessDenied, McpAccessForbidden, InvalidMcpResponse, McpCallFailed.
        """
        with self._failures():
            async with asyncio.timeout(self.seconds), self._connection(version) as connection:
                headers = {"Mcp-Name": encode_header_value(name), **parameters}
                call = {"name": name, "arguments": arguments}
                return await connection.request("tools/call", call, headers)

    async def _version(self) -> str:
        """Return the version to speak; whoever does not know `server/discover` begins with `initialize`."""
        try:
            result = await Connection(self, STATELESS).request("server/discover", {})
        except (McpCallFailed, InvalidMcpResponse, McpServerUnavailable):
            return NEWEST_WITH_SESSIONS
        versions = result.get("supportedVersions")
        return STATELESS if isinstance(versions, list) and STATELESS in versions else NEWEST_WITH_SESSIONS

    @asynccontextmanager
    async def _connection(self, version: str) -> AsyncIterator["Connection"]:
        connection = Connection(self, version)
        if version == STATELESS:
            yield connection
            return
        try:
            await connection.initialize()
            yield connection
        finally:
            # Also after a timeout or a cancellation: what the server still does for the request ends too.
            await connection.end()

    async def _tools(self, connection: "Connection") -> AsyncIterator[Json]:
        number, cursors = 0, set[str]()
        params: Json = {}
        for _ in range(MAX_PAGES):
            result = await connection.request("tools/list", params)
            for tool in tools_in(result):
                number += 1
                if number > MAX_TOOLS:
                    raise InvalidMcpResponse(f"The MCP server has more than {MAX_TOOLS} tools.")
                yield tool
            cursor = result.get("nextCursor")
            if cursor is None:
                return
            if not isinstance(cursor, str) or cursor in cursors:
                raise InvalidMcpResponse("The MCP server's list of tools has no end.")
            cursors.add(cursor)
            params = {"cursor": cursor}
        raise InvalidMcpResponse(f"The MCP server's list of tools has more than {MAX_PAGES} pages.")

    @contextmanager
    def _failures(self) -> Iterator[None]:
        """Raise what goes wrong with a request as an error with a sentence for the model and the admin."""
        try:
            yield
        except TimeoutError:
            message = f"The MCP server did not answer within {self.seconds:g} seconds."
            raise McpServerUnavailable(message) from None
        except ResponseTooLarge as error:
            raise InvalidMcpResponse(f"The MCP server's response is not read: {error}.") from None
        except RequestForbidden as error:
            raise McpCallFailed(f"The MCP server may not be called: {error}. {PRIVATE_HOSTS_HINT}") from None
        except TooManyRequests as error:
            raise McpServerUnavailable(f"{error}.") from None
        except (httpx2.HTTPError, httpx2.InvalidURL, httpx2.StreamError):
            # Not from it: its text may quote a header.
            raise McpServerUnavailable("The MCP server does not answer.") from None


@dataclass
class Connection:
    """Requests in one version of the protocol, and in one session where that has sessions."""

    client: McpClient
    version: str
    session: str | None = None
    # Before that, a server may refuse a version that it does not know.
    is_agreed: bool = False
    _ids: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    async def initialize(self) -> None:
        """Begin a session; raises InvalidMcpResponse where the server speaks no version that is known."""
        offer = {"protocolVersion": self.version, "capabilities": {}, "clientInfo": CLIENT_INFO}
        result = await self.request("initialize", offer)
        version = result.get("protocolVersion")
        if version not in WITH_SESSIONS:
            raise InvalidMcpResponse("The MCP server speaks no version of the protocol that is known here.")
        self.version, self.is_agreed = str(version), True
        async with self._post({"method": "notifications/initialized"}, {}):
            pass

    async def end(self) -> None:
        """End the session; a server that does not answer ends it itself."""
        if self.session is not None:
            with suppress(httpx2.HTTPError, TimeoutError):
                async with asyncio.timeout(SHORT_SECONDS):
                    await self.client.http.delete(self.client.url, headers=self._headers({}))

    async def request(self, method: str, params: Json, headers: Mapping[str, str] | None = None) -> Json:
        """Return the result of a request."""
        id_ = next(self._ids)
        message = {"id": id_, "method": method, "params": {**params, "_meta": self._meta()}}
        own = {**(headers or {}), "Mcp-Method": method} if self.version == STATELESS else {}
        result = result_of(await self._response_to(message, own), id_)
        if result.get("resultType", "complete") != "complete":
            raise McpCallFailed("The MCP server asks for more input, which agents do not give.")
        return result

    async def _response_to(self, message: Json, own: Mapping[str, str]) -> Json:
        """Return the response to a request, over as many connections as the server takes for it."""
        stream = MessageStream()
        async with self._post(message, own) as response:
            self.session = response.headers.get("mcp-session-id", self.session)
            if not is_stream(response):
                return parse(await response.aread())
            answer = await self._find_response(response, stream, message["id"])
        while answer is None:
            if self.version == STATELESS or not stream.last_event_id:
                raise InvalidMcpResponse("The MCP server's stream ended without a response.")
            await asyncio.sleep(stream.retry_seconds)
            async with self._open("GET", {"Last-Event-ID": stream.last_event_id}) as response:
                is_stream(response)
                answer = await self._find_response(response, stream, message["id"])
        return answer

    async def _find_response(
        self, response: httpx2.Response, stream: MessageStream, request_id: int
    ) -> Json | None:
        """Return the response to a request, if it comes before the connection ends."""
        try:
            async for message in stream.read(response):
                if is_response(message, request_id):
                    return message
                await self._reply(message)
        except INTERRUPTIONS:
            if not stream.last_event_id:
                raise
        return None

    async def _reply(self, message: Json) -> None:
        """Answer a request of the server, which may wait for that; what is sent besides is not needed."""
        if (reply := reply_to(message)) is None:
            return
        with suppress(httpx2.HTTPError, ToolFailed, TimeoutError):
            async with asyncio.timeout(SHORT_SECONDS), self._post(reply, {}):
                pass

    def _meta(self) -> Json:
        meta: dict[str, Any] = {}
        # Only where the call belongs to a trace: `traceparent`.
        propagate.inject(meta)
        if self.version == STATELESS:
            meta |= {
                f"{META}protocolVersion": self.version,
                f"{META}clientInfo": CLIENT_INFO,
                f"{META}clientCapabilities": {},
            }
        return meta

    def _headers(self, own: Mapping[str, str]) -> httpx2.Headers:
        session = {"Mcp-Session-Id": self.session} if self.session else {}
        is_named = self.is_agreed or self.version == STATELESS
        version = {"MCP-Protocol-Version": self.version} if is_named else {}
        headers = {**self.client.headers, "Accept": ACCEPT, **version, **session, **own}
        # A secret may have any letters.
        return httpx2.Headers(headers, encoding="utf-8")

    @asynccontextmanager
    async def _post(self, message: Json, own: Mapping[str, str]) -> AsyncIterator[httpx2.Response]:
        async with self._open("POST", own, json={"jsonrpc": "2.0", **message}) as response:
            yield response

    @asynccontextmanager
    async def _open(self, method: str, own: Mapping[str, str], **body: Any) -> AsyncIterator[httpx2.Response]:
        http, url, seconds = self.client.http, self.client.url, self.client.seconds
        async with http.stream(method, url, headers=self._headers(own), timeout=seconds, **body) as response:
            check_status(response)
            yield response


def check_status(response: httpx2.Response) -> None:
    """Raise what a status says, except of an error that the body describes."""
    if response.status_code == HTTPStatus.UNAUTHORIZED:
        raise McpAccessDenied("The MCP server refuses the credentials.")
    if response.status_code == HTTPStatus.FORBIDDEN:
        raise McpAccessForbidden(forbidden_by(response.headers.get("www-authenticate", "")))
    if response.is_server_error or response.status_code == HTTPStatus.TOO_MANY_REQUESTS:
        raise McpServerUnavailable(f"The MCP server answers with the HTTP status {response.status_code}.")
    if response.has_redirect_location:
        location = response.headers["location"][:MAX_LOCATION]
        raise McpCallFailed(f"The MCP server redirects to {location}. Register the address of MCP itself.")
    is_json = response.headers.get("content-type", "").startswith("application/json")
    is_described = is_json and response.status_code != HTTPStatus.METHOD_NOT_ALLOWED
    if not response.is_success and not (response.is_client_error and is_described):
        message = f"The MCP server answers with the HTTP status {response.status_code}."
        raise McpCallFailed(f"{message} {TRANSPORT_HINT}" if response.status_code in NO_ENDPOINT else message)


def forbidden_by(challenge: str) -> str:
    """Return the sentence for credentials that do not allow a request (RFC 6750, 3.1)."""
    if scopes := scopes_in(challenge):
        return (
            f"The MCP server wants the scopes {' '.join(scopes)!r}. An admin can name them in `auth.scopes`;"
            " then the person signs in again."
        )
    return "The MCP server does not allow this with the credentials."


def tools_in(result: Json) -> list[Json]:
    """Return the tools of a page; raises InvalidMcpResponse."""
    tools = result.get("tools")
    if not isinstance(tools, list) or not all(isinstance(tool, dict) for tool in tools):
        raise InvalidMcpResponse("The MCP server's list of tools is not a list.")
    return tools
