"""The server of a tenant, as its HTTP tools find it, and how tests register such tools."""

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, RedirectResponse, Response, StreamingResponse
from testkit.live_server import serving

TOOLS = "/api/v1/tools"
Json = dict[str, Any]


@dataclass
class TenantServer:
    """Orders of a shop. It remembers what it was sent, and fails in several ways on demand."""

    url: str = ""
    # The requests: method, path with query, headers, body.
    requests: list[tuple[str, str, dict[str, str], Any]] = field(default_factory=list)
    # The statuses with which it answers next.
    failures: list[int] = field(default_factory=list)

    def app(self) -> FastAPI:
        """Return the server."""
        app = FastAPI()
        app.middleware("http")(self._record)
        app.get("/orders/{order_id}")(self.order)
        app.post("/orders/{order_id}/notes")(self.echo)
        app.get("/echo")(self.echo)
        app.get("/kinds/{kind}")(self.kind)
        app.get("/redirect")(self.redirect)
        app.get("/mirror-error")(self.mirror_error)
        app.get("/slow")(self.slow)
        app.get("/long")(self.long)
        app.post("/pay")(self.echo)
        return app

    async def _record(self, request: Request, call_next: Any) -> Response:
        body = await request.body()
        path, query = request.scope["raw_path"].decode(), request.url.query
        sent = json.loads(body) if body else None
        target = f"{path}?{query}" if query else path
        self.requests.append((request.method, target, dict(request.headers), sent))
        if self.failures:
            return JSONResponse({"error": "out of paper"}, self.failures.pop(0))
        answer: Response = await call_next(request)
        return answer

    async def order(self, order_id: str) -> Json:
        return {"id": order_id, "status": "shipped"}

    async def echo(self, request: Request) -> Json:
        return {
            "headers": dict(request.headers),
            "query": str(request.url.query),
            "body": (await request.body()).decode(),
        }

    async def mirror_error(self, request: Request) -> JSONResponse:
        return JSONResponse(await self.echo(request), 400)

    async def kind(self, kind: str) -> Response:
        content, media_type = {
            "text": ("plain words", "text/plain"),
            "html": ("<p>Sign in</p>", "text/html"),
            "broken": ('{"a": ', "application/json"),
            "binary": ("%PDF", "application/pdf"),
            "empty": ("", "application/json"),
        }[kind]
        return Response(content, media_type=media_type, headers={"set-cookie": "session=of-one-tenant"})

    async def redirect(self, to: str) -> RedirectResponse:
        return RedirectResponse(to)

    async def slow(self, request: Request) -> None:
        while not await request.is_disconnected():
            pass

    async def long(self) -> StreamingResponse:
        async def zeros() -> AsyncIterator[bytes]:
            for _ in range(6):
                yield b"0" * 1024 * 1024

        return StreamingResponse(zeros(), media_type="text/plain")


@contextmanager
def tenant_server() -> Iterator[TenantServer]:
    """Run a server of a tenant."""
    server = TenantServer()
    with serving(server.app()) as server.url:
        yield server


def order_tool(url: str, **members: Any) -> Json:
    """Return the document of a tool that reads an order."""
    parameters = {
        "type": "object",
        "properties": {"order_id": {"type": "string"}, "expand": {"type": "boolean"}},
        "required": ["order_id"],
    }
    endpoint = {"url": f"{url}/orders/{{order_id}}", "parameters": parameters}
    return {"description": "Read an order.", "endpoint": endpoint, **members}


def save_tool(client: httpx.Client, name: str, document: Json) -> Json:
    """Register a tool."""
    response = client.put(f"{TOOLS}/{name}", json=document)
    assert response.status_code == 200, response.text
    return response.json()


def tool_problems(client: httpx.Client, document: Json, name: str = "read_order") -> dict[str, str]:
    """Return what is wrong with a tool, by place."""
    response = client.put(f"{TOOLS}/{name}", json=document)
    assert (response.status_code, response.json()["code"]) == (422, "invalid_tool"), response.text
    return {one["path"]: one["message"] for one in response.json()["problems"]}
