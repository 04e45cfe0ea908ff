"""The HTTP client of tools: it reaches public hosts only, at the IP address that was checked."""

import ssl
from collections.abc import AsyncIterator
from functools import cache
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any

import httpcore2
import httpx2

from chat_agent.clients.public_hosts import HostNotPublic, resolve_public

PORTS = frozenset({80, 443, 8080, 8443})
PRIVATE_HOSTS_HINT = "The operator can allow it (`TOOL_PRIVATE_HOSTS`)."
DEFAULT_PORTS = {"http": 80, "https": 443}
MAX_RESPONSE_BYTES = 5 * 1024 * 1024
TIMEOUT = httpx2.Timeout(10, connect=5)


def port_of(url: httpx2.URL) -> int:
    """Return the port that a URL calls."""
    return DEFAULT_PORTS[url.scheme] if url.port is None else url.port


def host_and_port(url: httpx2.URL) -> str:
    """Return whom a URL calls, as the operator names those that may be (`TOOL_PRIVATE_HOSTS`)."""
    return f"{url.host}:{port_of(url)}"


class RequestForbidden(httpx2.RequestError):
    """The address may not be called: its scheme, port, host or credentials."""


class ResponseTooLarge(httpx2.RequestError):
    """The response is larger than a tool may read, or compressed."""


def create_client(private_hosts: frozenset[str] = frozenset()) -> httpx2.AsyncClient:
    """Return a client with time and size limits; `private_hosts` (`host:port`) it reaches all the same."""
    return client_on(PublicTransport(private_hosts))


def client_on(transport: httpx2.AsyncBaseTransport) -> httpx2.AsyncClient:
    """Return a client with time limits.

    Redirects are not followed unless a call says so; each is checked as the first address is.
    """
    # What a server sets as a cookie for one call is not sent with another.
    # A compressed response of a few kilobytes may hold gigabytes.
    headers = {"Accept-Encoding": "identity", "User-Agent": "acme"}
    return httpx2.AsyncClient(
        transport=transport,
        trust_env=False,
        timeout=TIMEOUT,
        headers=headers,
        max_redirects=5,
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
    )


class PinnedBackend(httpcore2.AnyIOBackend):
    """Connects to an address that was checked; certificate and `Host` remain those of the name."""

    def __init__(self, private_hosts: frozenset[str]) -> None:
        self._private_hosts = private_hosts

    async def connect_tcp(self, host: str, port: int, *args: Any, **options: Any) -> Any:
        """Connect to the first address that answers; raises HostNotPublic, httpcore2.ConnectError."""
        if f"{host}:{port}" in self._private_hosts:
            return await super().connect_tcp(host, port, *args, **options)
        *others, last = await resolve_public(host, port)
        for address in others:
            try:
                return await super().connect_tcp(address, port, *args, **options)
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout):
                continue
        return await super().connect_tcp(last, port, *args, **options)


@cache
def tls_context() -> ssl.SSLContext:
    """Return what certificates are verified by; to load it takes 20 ms of CPU."""
    return httpx2.create_ssl_context()


class PinnedTransport(httpx2.AsyncHTTPTransport):
    """Sends requests over connections to addresses that were checked."""

    def __init__(self, private_hosts: frozenset[str]) -> None:
        # A proxy of the environment would resolve names itself.
        super().__init__(verify=tls_context(), trust_env=False)
        self._pool = httpcore2.AsyncConnectionPool(
            ssl_context=tls_context(),
            max_connections=100,
            max_keepalive_connections=20,
            keepalive_expiry=15,
            network_backend=PinnedBackend(private_hosts),
        )


class PublicTransport(httpx2.AsyncBaseTransport):
    """Checks every request, also each of a redirect, and limits every response."""

    def __init__(self, private_hosts: frozenset[str]) -> None:
        self._private_hosts = private_hosts
        # Made by the first request.
        self._transport: PinnedTransport | None = None

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send a request; raises RequestForbidden, ResponseTooLarge."""
        url = request.url
        if url.scheme not in DEFAULT_PORTS or url.userinfo:
            raise RequestForbidden("the address must be http or https, without credentials", request=request)
        port = port_of(url)
        if port not in PORTS and host_and_port(url) not in self._private_hosts:
            raise RequestForbidden(f"port {port} may not be called", request=request)
        self._transport = self._transport or PinnedTransport(self._private_hosts)
        try:
            response = await self._transport.handle_async_request(request)
        except HostNotPublic:
            raise RequestForbidden(
                "the host is not public, or its name cannot be resolved", request=request
            ) from None
        if response.headers.get("content-encoding", "identity") != "identity":
            await response.aclose()
            raise ResponseTooLarge("the response is compressed", request=request)
        assert isinstance(response.stream, httpx2.AsyncByteStream)  # noqa: S101  # what the transport returns
        response.stream = LimitedStream(response.stream, request)
        return response

    async def aclose(self) -> None:
        """Close the connections."""
        if self._transport is not None:
            await self._transport.aclose()


class LimitedStream(httpx2.AsyncByteStream):
    """The body of a response, as far as a tool may read it."""

    def __init__(self, stream: httpx2.AsyncByteStream, request: httpx2.Request) -> None:
        self._stream, self._request = stream, request

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = 0
        async for chunk in self._stream:
            size += len(chunk)
            if size > MAX_RESPONSE_BYTES:
                raise ResponseTooLarge(f"more than {MAX_RESPONSE_BYTES} bytes", request=self._request)
            yield chunk

    async def aclose(self) -> None:
        """Close the response."""
        await self._stream.aclose()
