"""An MCP server without sessions that is as bad as a test wants, and an authorization server."""

import asyncio
import base64
import hashlib
import json
import secrets
from base64 import b64encode
from collections.abc import AsyncIterator, Callable
from typing import Any
from urllib.parse import parse_qsl, quote, urlsplit

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

Json = dict[str, Any]
ECHO = {
    "name": "echo",
    "description": "Repeat a text.",
    "inputSchema": {"type": "object", "properties": {"text": {"type": "string"}}},
    "annotations": {"readOnlyHint": True},
}
PAY = {
    "name": "pay",
    "description": "Pay money out.",
    "inputSchema": {"type": "object", "properties": {"amount": {"type": "integer"}}},
}


def text_result(text: str, **more: Any) -> Json:
    return {"resultType": "complete", "content": [{"type": "text", "text": text}], **more}


class StatelessServer:
    """Answers `server/discover`, `tools/list` and `tools/call` of 2026-07-28, and notes what it was sent."""

    def __init__(self) -> None:
        self.app = FastAPI()
        self.app.post("/mcp")(self.answer)
        # Where the transport before streamable HTTP begins.
        self.app.get("/sse")(silent)
        self.app.get("/.well-known/oauth-protected-resource/mcp")(self.metadata)
        # Where its people sign in, if they do.
        self.accounts: AuthorizationServer | None = None
        self.reset()

    def reset(self) -> None:
        """Become a good server again."""
        self.tools: list[Json] = [dict(ECHO), dict(PAY)]
        self.requests: list[tuple[str, Json, dict[str, str]]] = []
        # How a call is answered, in place of the right way.
        self.mode = "json"
        # What it calls itself, in place of its address, and which scopes it wants.
        self.resource: str | None = None
        self.scope = ""

    def sent(self, method: str) -> list[tuple[Json, dict[str, str]]]:
        """Return parameters and headers of the requests of a method."""
        return [(params, headers) for name, params, headers in self.requests if name == method]

    async def metadata(self, request: Request) -> Json:
        assert self.accounts is not None
        resource = self.resource or f"{request.base_url}mcp"
        return {
            "resource": resource,
            "authorization_servers": [self.accounts.issuer],
            "scopes_supported": ["read"],
        }

    async def answer(self, request: Request) -> Response:
        if self.accounts is not None and not self.accounts.knows(request.headers.get("authorization")):
            where = f"{request.base_url}.well-known/oauth-protected-resource/mcp"
            scope = f', scope="{self.scope}"' if self.scope else ""
            challenge = {"www-authenticate": f'Bearer resource_metadata="{where}"{scope}'}
            return Response(status_code=401, headers=challenge)
        body = await request.json()
        method, params, id_ = body["method"], body.get("params", {}), body.get("id")
        headers = dict(request.headers)
        self.requests.append((method, params, headers))
        assert headers["mcp-method"] == method
        assert params["_meta"]["io.modelcontextprotocol/protocolVersion"] == headers["mcp-protocol-version"]
        if method == "server/discover":
            return result(id_, {"resultType": "complete", "supportedVersions": ["2026-07-28"]})
        if method == "tools/list":
            return self.list_tools(id_, params)
        assert headers["mcp-name"] == params["name"]
        return await self.call(id_, params)

    def list_tools(self, id_: int, params: Json) -> Response:
        if self.mode == "endless pages":
            number = int(params.get("cursor", 0))
            return result(id_, {"tools": [{**ECHO, "name": f"t{number}"}], "nextCursor": str(number + 1)})
        if self.mode == "same page":
            return result(id_, {"tools": [], "nextCursor": "again"})
        if self.mode == "list with headers":
            about = with_headers(self.requests[-1][2])
            tool = {**ECHO, "title": about, "annotations": {"about": about}, "description": about}
            return result(id_, {"tools": [tool]})
        if self.mode == "no list":
            return JSONResponse(error(id_, with_headers(self.requests[-1][2])))
        first, *rest = self.tools
        if "cursor" not in params and rest:
            return result(id_, {"resultType": "complete", "tools": [first], "nextCursor": "2"})
        return result(id_, {"resultType": "complete", "tools": rest or [first]})

    async def call(self, id_: int, params: Json) -> Response:
        output = text_result(f"{params['name']}: {json.dumps(params['arguments'])}")
        if self.mode == "hung":
            await asyncio.sleep(600)
        if self.mode == "headers":
            sent = self.requests[-1][2]
            encoded = [b64encode(value.encode()).decode() for value in sent.values()]
            output = text_result(f"{json.dumps(sent)} {quote(json.dumps(sent))} {encoded}")
        if self.mode == "error with headers":
            return JSONResponse(error(id_, with_headers(self.requests[-1][2])))
        answer = ANSWERS.get(self.mode)
        return answer(id_, output) if answer else result(id_, output)


def with_headers(headers: dict[str, str]) -> str:
    """Return a text with the credentials of a request, and again where a message of an error is cut."""
    credentials = f"{headers.get('authorization')} {headers.get('x-key')}"
    return f"{credentials} ".ljust(460, "-") + credentials


def message(id_: int, value: Json) -> Json:
    return {"jsonrpc": "2.0", "id": id_, "result": value}


def result(id_: int, value: Json) -> JSONResponse:
    return JSONResponse(message(id_, value))


def event_stream(chunks: AsyncIterator[str]) -> Response:
    return StreamingResponse(chunks, media_type="text/event-stream")


def progress() -> Json:
    return {"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progress": 1}}


def stream(messages: list[Json]) -> Response:
    events = "".join(f"event: message\r\ndata: {json.dumps(one)}\r\n\r\n" for one in messages)
    return Response(f": hello\r\n\r\n{events}", media_type="text/event-stream")


async def endless() -> AsyncIterator[str]:
    while True:
        yield f"data: {json.dumps(progress())}\n\n"
        await asyncio.sleep(0)


async def silent() -> AsyncIterator[str]:
    while True:
        yield ": still here\n\n"
        await asyncio.sleep(0.05)


def error(id_: int, text: str) -> Json:
    return {"jsonrpc": "2.0", "id": id_, "error": {"code": -1, "message": text}}


Answer = Callable[[int, Json], Response]
METADATA = {"location": "http://169.254.169.254/"}
LACKS_SCOPE = {"www-authenticate": 'Bearer error="insufficient_scope", scope="read pay:write"'}
# How a call is answered by a good server, and by others.
ANSWERS: dict[str, Answer] = {
    "stream": lambda id_, output: stream([progress(), message(id_, output)]),
    "endless stream": lambda _id, _output: event_stream(endless()),
    "silent stream": lambda _id, _output: event_stream(silent()),
    "huge": lambda id_, _output: result(id_, text_result("x" * 6_000_000)),
    "long": lambda id_, _output: result(id_, text_result("x" * 100_000)),
    "wrong id": lambda _id, output: result(99, output),
    "wrong id in a stream": lambda _id, output: stream([message(99, output)]),
    "wrong type": lambda _id, _output: Response("<html>", media_type="text/html"),
    "no json": lambda _id, _output: Response("{", media_type="application/json"),
    "a list": lambda _id, _output: JSONResponse([1, 2]),
    "no result": lambda id_, _output: JSONResponse({"jsonrpc": "2.0", "id": id_, "result": "x"}),
    "odd content": lambda id_, _output: result(id_, {"content": [1, {"type": "image"}, "x"]}),
    "asks back": lambda id_, _output: result(id_, {"resultType": "input_required"}),
    "rpc error": lambda id_, _output: JSONResponse(error(id_, "Broken")),
    "tool error": lambda id_, _output: result(id_, text_result("No such file", isError=True)),
    "status": lambda _id, _output: Response(status_code=500),
    "forbidden": lambda _id, _output: Response(status_code=403, headers=LACKS_SCOPE),
    "unauthorized": lambda _id, _output: Response(status_code=401),
    "redirect": lambda _id, _output: Response(status_code=307, headers=METADATA),
    "compressed": lambda _id, _output: Response(b"x", headers={"content-encoding": "gzip"}),
}


class AuthorizationServer:
    """Registers clients, redeems codes by PKCE, and rotates refresh tokens: reuse revokes their family."""

    def __init__(self) -> None:
        self.app = FastAPI()
        self.app.get("/.well-known/oauth-authorization-server")(self.metadata)
        self.app.post("/register")(self.register)
        self.app.post("/token")(self.token)
        self.app.post("/revoke")(self.revoke)
        self.issuer = ""
        self.reset()

    def reset(self) -> None:
        """Delete all clients and tokens, and behave well again."""
        self.codes: dict[str, dict[str, str]] = {}
        self.access: dict[str, str] = {}
        # The newest refresh token of each family, and the families of all.
        self.newest: dict[str, str] = {}
        self.families: dict[str, str] = {}
        self.registered: list[Json] = []
        # What is added to the answer to a registration, and whether one may name scopes.
        self.registration: Json = {}
        self.knows_scopes = True
        self.refreshed = 0
        self.revoked: list[str] = []
        self.lifetime = 3600
        self.changes: Json = {}
        # What the token endpoint answers in place of tokens.
        self.refusal: tuple[int, Json] | None = None
        # How the last request of tokens was authenticated: its header and its form.
        self.authenticated_by: tuple[str | None, Json] = None, {}
        # Refreshes that have arrived, and whether they are answered.
        self.arrived = 0
        self.is_answering = True
        # Whether the metadata comes byte by byte, and never ends.
        self.is_dripping = False

    def knows(self, authorization: str | None) -> bool:
        """Return whether a request has a token that is valid."""
        return (authorization or "").removeprefix("Bearer ") in self.access

    async def metadata(self) -> Any:
        if self.is_dripping:
            return event_stream(silent())
        return {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token",
            "registration_endpoint": f"{self.issuer}/register",
            "revocation_endpoint": f"{self.issuer}/revoke",
            "code_challenge_methods_supported": ["S256"],
            "authorization_response_iss_parameter_supported": True,
            **self.changes,
        }

    async def register(self, request: Request) -> JSONResponse:
        about = await request.json()
        if "scope" in about and not self.knows_scopes:
            return JSONResponse({"error": "invalid_client_metadata"}, 400)
        self.registered.append(about)
        return JSONResponse({"client_id": f"client-{len(self.registered)}", **self.registration}, 201)

    def grant(self, authorization_url: str) -> Json:
        """Sign somebody in at an address: return the query with which they are sent back."""
        query = dict(parse_qsl(urlsplit(authorization_url).query))
        assert authorization_url.startswith(f"{self.issuer}/authorize?")
        assert (query["response_type"], query["code_challenge_method"]) == ("code", "S256")
        number = query["client_id"].removeprefix("client-")
        if self.knows_scopes and number.isdigit():
            # A client is granted what it was registered for.
            registered = self.registered[int(number) - 1].get("scope", "").split()
            assert {*query.get("scope", "").split()} <= {*registered}
        code = secrets.token_urlsafe()
        self.codes[code] = query
        return {"code": code, "state": query["state"], "iss": self.issuer}

    async def token(self, request: Request) -> JSONResponse:
        form = dict(parse_qsl((await request.body()).decode()))
        self.authenticated_by = request.headers.get("authorization"), form
        self.arrived += form["grant_type"] == "refresh_token"
        while not self.is_answering:  # noqa: ASYNC110  # a test in another thread says so
            await asyncio.sleep(0.02)
        if self.refusal:
            return JSONResponse(self.refusal[1], self.refusal[0])
        if "client_id" not in form:
            return JSONResponse({"error": "invalid_client"}, 401)
        if form["grant_type"] == "refresh_token":
            return self.refresh(form["refresh_token"])
        query = self.codes.pop(form["code"], None)
        digest = hashlib.sha256(form["code_verifier"].encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        if query is None or challenge != query["code_challenge"] or form["resource"] != query["resource"]:
            return JSONResponse({"error": "invalid_grant"}, 400)
        return self.tokens(secrets.token_urlsafe())

    def refresh(self, token: str) -> JSONResponse:
        self.refreshed += 1
        family = self.families.get(token)
        if family is None or self.newest.get(family) != token:
            # Somebody has redeemed it before: nobody of the family is believed any more.
            self.newest.pop(family or "", None)
            self.access = {access: of for access, of in self.access.items() if of != family}
            return JSONResponse({"error": "invalid_grant"}, 400)
        return self.tokens(family)

    def tokens(self, family: str) -> JSONResponse:
        access, refresh = f"access-{secrets.token_urlsafe()}", f"refresh-{secrets.token_urlsafe()}"
        self.access[access] = family
        self.families[refresh] = family
        self.newest[family] = refresh
        return JSONResponse(
            {
                "access_token": access,
                "token_type": "Bearer",
                "expires_in": self.lifetime,
                "refresh_token": refresh,
            }
        )

    async def revoke(self, request: Request) -> Response:
        self.revoked.append(dict(parse_qsl((await request.body()).decode()))["token"])
        return Response()
