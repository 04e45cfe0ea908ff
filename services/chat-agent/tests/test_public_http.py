"""Tools reach public hosts only: whatever an address is called, and wherever it leads later."""

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import httpx2
import pytest
from chat_agent.clients import public_hosts
from chat_agent.clients.public_http import RequestForbidden, ResponseTooLarge, create_client
from chat_agent.clients.tenant_http import MAX_REQUESTS, TenantClients, TooManyRequests
from fastapi import FastAPI, Request
from fastapi.responses import RedirectResponse, Response, StreamingResponse
from testkit.eventually import until_async
from testkit.live_server import serving
from testkit.supplied_urls import WHERE_CALLED, refused


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[list[str]]]:
    """Answers of the name server of these tests, one after the other; the last is repeated."""
    answers: dict[str, list[list[str]]] = {}
    resolve = socket.getaddrinfo

    def getaddrinfo(host: Any, port: Any, *args: Any, **options: Any) -> Any:
        if host not in answers:
            return resolve(host, port, *args, **options)
        addresses = answers[host].pop(0) if len(answers[host]) > 1 else answers[host][0]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, port)) for one in addresses]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return answers


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    app = FastAPI()

    @app.get("/host")
    async def host(request: Request) -> str:
        return request.headers["host"]

    @app.get("/redirect")
    async def redirect(to: str) -> RedirectResponse:
        return RedirectResponse(to)

    @app.get("/long")
    async def long() -> StreamingResponse:
        async def zeros() -> AsyncIterator[bytes]:
            for _ in range(6):
                yield bytes(1024 * 1024)

        return StreamingResponse(zeros())

    @app.get("/compressed")
    async def compressed() -> Response:
        return Response(b"x", headers={"content-encoding": "gzip"})

    with serving(app) as url:
        yield url


@asynccontextmanager
async def client_for(server: str) -> AsyncIterator[httpx2.AsyncClient]:
    async with create_client(frozenset({urlsplit(server).netloc})) as client:
        yield client


@pytest.mark.parametrize("address", refused(WHERE_CALLED - {"plain"}))
async def test_an_address_that_is_not_public_is_not_called(address: str) -> None:
    async with create_client() as client:
        with pytest.raises((RequestForbidden, httpx2.InvalidURL)):
            await client.get(address)


async def test_one_private_address_among_several_is_enough(names: dict[str, list[list[str]]]) -> None:
    names["mixed.example"] = [["93.184.215.14", "10.0.0.1"]]
    async with create_client() as client:
        with pytest.raises(RequestForbidden, match="not public"):
            await client.get("http://mixed.example/")


async def test_the_address_that_was_checked_is_called(
    server: str, names: dict[str, list[list[str]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    # The name leads to a public address when it is checked, and would lead elsewhere a moment later.
    names["rebind.example"] = [["127.0.0.1"], ["10.0.0.1"]]
    monkeypatch.setattr(public_hosts, "is_global", lambda address: address == "127.0.0.1")
    port = urlsplit(server).port
    monkeypatch.setattr("chat_agent.clients.public_http.PORTS", frozenset({port}))
    async with create_client() as client:
        answer = await client.get(f"http://rebind.example:{port}/host")
    assert answer.json() == f"rebind.example:{port}"


@pytest.mark.parametrize("address", ["http://10.0.0.1/", "http://me:secret@93.184.215.14/", "file:///etc"])
async def test_a_redirect_is_checked_as_well(server: str, address: str) -> None:
    async with client_for(server) as client:
        with pytest.raises((RequestForbidden, httpx2.UnsupportedProtocol)):
            await client.get(f"{server}/redirect", params={"to": address}, follow_redirects=True)


async def test_a_redirect_is_not_followed_unasked(server: str) -> None:
    async with client_for(server) as client:
        answer = await client.get(f"{server}/redirect", params={"to": f"{server}/host"})
    assert answer.status_code == 307


async def test_an_operator_allows_a_private_host(server: str) -> None:
    async with client_for(server) as client:
        assert (await client.get(f"{server}/host")).json() == urlsplit(server).netloc


@pytest.mark.parametrize("path", ["long", "compressed"])
async def test_a_response_that_is_too_large_ends(server: str, path: str) -> None:
    async with client_for(server) as client:
        with pytest.raises(ResponseTooLarge):
            await client.get(f"{server}/{path}")


class SilentServer:
    """Answers no request until it is released."""

    def __init__(self) -> None:
        self.arrived = 0
        self.released = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        self.arrived += 1
        await self.released.wait()
        writer.write(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
        writer.close()

    async def has(self, requests: int) -> bool:
        return self.arrived == requests


async def test_servers_that_do_not_answer_use_up_the_connections_of_their_tenant_alone() -> None:
    server, slow, other = SilentServer(), uuid4(), uuid4()
    async with await asyncio.start_server(server.serve, "127.0.0.1", 0) as listener:
        host = f"127.0.0.1:{listener.sockets[0].getsockname()[1]}"
        clients = TenantClients(frozenset({host}))

        def start(tenant_id: Any, wait: float = 60) -> asyncio.Task[httpx2.Response]:
            timeout = httpx2.Timeout(60, pool=wait)
            return asyncio.create_task(clients.find(tenant_id).get(f"http://{host}/", timeout=timeout))

        under_way = [start(slow) for _ in range(MAX_REQUESTS + 1)]
        await until_async(lambda: server.has(MAX_REQUESTS))
        with pytest.raises(TooManyRequests, match="requests of this tenant's tools are under way"):
            await start(slow, 0.1)
        # Another tenant's is sent, and of the slow one's no more than before.
        under_way.append(start(other))
        await until_async(lambda: server.has(MAX_REQUESTS + 1))
        server.released.set()
        responses = await asyncio.gather(*under_way)
        await clients.aclose()
    assert {response.status_code for response in responses} == {204}
    assert server.arrived == MAX_REQUESTS + 2


async def test_names_that_do_not_resolve_delay_those_of_their_tenant_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    released, waiting = threading.Event(), threading.Semaphore(0)

    def getaddrinfo(host: str, port: int, **_options: Any) -> list[Any]:
        if host == "slow.example":
            waiting.release()
            released.wait()
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("93.184.215.14", port))]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    monkeypatch.setattr(public_hosts, "RESOLVE_SECONDS", 60)
    slow = [
        asyncio.create_task(public_hosts.resolve_public("slow.example", 443)) for _ in range(MAX_REQUESTS)
    ]
    try:
        for _ in slow:
            assert await asyncio.to_thread(waiting.acquire, timeout=60)
        assert await public_hosts.resolve_public("fast.example", 443) == ["93.184.215.14"]
    finally:
        released.set()
    await asyncio.gather(*slow)
