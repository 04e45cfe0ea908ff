"""HTTP clients of tenants: they share connections, of which one tenant uses a part at a time."""

import asyncio
from collections.abc import AsyncIterator
from uuid import UUID
from weakref import WeakValueDictionary

import httpx2

from chat_agent.clients.public_http import PublicTransport, client_on

# Of 100 connections: servers that do not answer use up those of their tenant, not those of all.
MAX_REQUESTS = 20


class TooManyRequests(httpx2.PoolTimeout):
    """As many requests of the tenant are under way as it may have, and none of them has ended in time."""

    def __init__(self, request: httpx2.Request) -> None:
        super().__init__(
            f"{MAX_REQUESTS} requests of this tenant's tools are under way; try again later", request=request
        )


class TenantClients:
    """Clients by tenant, on one pool of connections."""

    def __init__(self, private_hosts: frozenset[str]) -> None:
        self._transport = PublicTransport(private_hosts)
        # Of tenants whose clients are in use.
        self._turns: WeakValueDictionary[UUID, asyncio.Semaphore] = WeakValueDictionary()

    def find(self, tenant_id: UUID) -> httpx2.AsyncClient:
        """Return a client of a tenant, which need not be closed."""
        turns = self._turns.setdefault(tenant_id, asyncio.Semaphore(MAX_REQUESTS))
        return client_on(TenantTransport(self._transport, turns))

    async def aclose(self) -> None:
        """Close the connections of all."""
        await self._transport.aclose()


class TenantTransport(httpx2.AsyncBaseTransport):
    """Limits how many requests of a tenant are under way, until their responses are read."""

    def __init__(self, transport: httpx2.AsyncBaseTransport, turns: asyncio.Semaphore) -> None:
        self._transport, self._turns = transport, turns

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send a request when it is its turn; raises TooManyRequests."""
        try:
            async with asyncio.timeout(request.extensions.get("timeout", {}).get("pool")):
                await self._turns.acquire()
        except TimeoutError:
            raise TooManyRequests(request) from None
        try:
            response = await self._transport.handle_async_request(request)
        except BaseException:
            self._turns.release()
            raise
        assert isinstance(response.stream, httpx2.AsyncByteStream)  # noqa: S101  # what the transport returns
        response.stream = CountedStream(response.stream, self._turns)
        return response


class CountedStream(httpx2.AsyncByteStream):
    """The body of a response, which is under way until it is closed."""

    def __init__(self, stream: httpx2.AsyncByteStream, turns: asyncio.Semaphore) -> None:
        self._stream, self._turns = stream, turns
        self._is_closed = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in self._stream:
            yield chunk

    async def aclose(self) -> None:
        """Close the response, and let the next request begin."""
        try:
            await self._stream.aclose()
        finally:
            if not self._is_closed:
                self._is_closed = True
                self._turns.release()
