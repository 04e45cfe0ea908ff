"""The gateway as it is deployed (start.sh, a real Envoy), and five services that tell what reaches them."""

import asyncio
import contextlib
import http.client
import json
import os
import socket
import socketserver
import subprocess
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import httpx
import pytest
import uvicorn
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from jwt.algorithms import OKPAlgorithm
from sandbox.embedded import envoy_binary, free_port
from servicekit.auth import jose
from servicekit.auth.tokens import ALGORITHM
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from testkit.eventually import until
from testkit.node_scripts import IS_AVAILABLE

collect_ignore = [] if IS_AVAILABLE else ["test_gateway_event_source.py"]
GATEWAY = Path(__file__).parents[4] / "deploy" / "gateway"
SERVICES = ("auth", "chat-agent", "conversation", "billing-webhook", "notification")
ISSUER = "http://localhost:8000"
LISTED = "http://localhost:3000"
SHORT_SECONDS = 1
METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]


@dataclass
class Services:
    """What the stand-ins have been asked, and the key that auth's tokens are signed with."""

    key: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)
    ports: dict[str, int] = field(default_factory=dict)
    attempts: list[str] = field(default_factory=list)
    traces: SimpleQueue[bytes] = field(default_factory=SimpleQueue)
    second_half: threading.Event = field(default_factory=threading.Event)
    # Whether the services know auth's keys, of which any of them tells.
    know_keys: bool = True

    def token(
        self, *, key: Ed25519PrivateKey | None = None, kid: str = "one", alg: str = ALGORITHM, **claims: Any
    ) -> str:
        """Sign an access token; a claim that is None is left out."""
        now = int(time.time())
        usual = {"iss": ISSUER, "aud": "acme-api", "sub": "user:1", "iat": now, "nbf": now, "exp": now + 600}
        chosen = {name: value for name, value in (usual | claims).items() if value is not None}
        header = {"alg": alg, "kid": kid, "typ": "at+jwt"}
        signed = ".".join(jose.encode(json.dumps(part).encode()) for part in (header, chosen))
        return f"{signed}.{jose.encode((key or self.key).sign(signed.encode()))}"

    def app(self, service: str) -> Starlette:
        """Make one stand-in. It answers with what it was asked, except at a few addresses."""
        special: dict[str, Callable[[Request], Awaitable[Response]]] = {
            "/.well-known/jwks.json": self.jwks,
            "/api/v1/chat/stream": self.stream,
            "/api/v1/tools/never": self.never,
            "/v1/late": self.late,
            "/api/v1/agents/late/ag-ui": self.late,
            "/v1/traces": self.collect,
        }

        async def answer(request: Request) -> Response:
            if request.url.path in special:
                return await special[request.url.path](request)
            body = await request.body()
            return JSONResponse(
                {
                    "service": service,
                    "method": request.method,
                    "path": request.url.path,
                    "query": request.url.query,
                    "headers": dict(request.headers),
                    "received": len(body),
                }
            )

        app = Starlette()
        app.add_route("/{path:path}", answer, methods=METHODS)
        return app

    async def jwks(self, _request: Request) -> Response:
        if not self.know_keys:
            return Response(status_code=503)
        public = json.loads(OKPAlgorithm.to_jwk(self.key.public_key()))
        return JSONResponse({"keys": [public | {"kid": "one", "alg": ALGORITHM, "use": "sig"}]})

    async def stream(self, _request: Request) -> Response:
        async def events() -> Any:
            yield "data: first\n\n"
            await asyncio.to_thread(self.second_half.wait, 10)
            yield "data: second\n\n"

        return StreamingResponse(events(), media_type="text/event-stream")

    async def never(self, request: Request) -> Response:
        await request.body()
        # The next thing to come is that the caller has gone.
        await request.receive()
        return Response()

    async def late(self, _request: Request) -> Response:
        await asyncio.sleep(2 * SHORT_SECONDS)
        return JSONResponse({"late": True})

    async def collect(self, request: Request) -> Response:
        self.traces.put(await request.body())
        return Response()


@contextmanager
def serving(*apps: Any, port: int = 0) -> Iterator[list[int]]:
    """Serve apps in a thread, each on a port of its own."""
    sockets = [socket.create_server(("127.0.0.1", port)) for _ in apps]
    servers = [uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off")) for app in apps]

    async def serve() -> None:
        await asyncio.gather(*(s.serve([sock]) for s, sock in zip(servers, sockets, strict=True)))

    thread = threading.Thread(target=asyncio.run, args=[serve()])
    thread.start()
    try:
        yield [sock.getsockname()[1] for sock in sockets]
    finally:
        for server in servers:
            server.should_exit = server.force_exit = True
        thread.join()
        for sock in sockets:
            sock.close()


@contextmanager
def dying(attempts: list[str]) -> Iterator[int]:
    """Listen on a port where every request ends in a closed connection; notes the methods asked with."""

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            attempts.append(self.rfile.readline().split(b" ")[0].decode())

    with socketserver.TCPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=[0.05])
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


@dataclass(frozen=True)
class Gateway:
    """A running gateway."""

    port: int
    internal_port: int
    client: httpx.Client
    log: Path

    def send(self, request: bytes) -> tuple[int, http.client.HTTPMessage, Any]:
        """Send bytes as they are, and read the answer: its status, headers and JSON (None without a body)."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=60) as connection:
            connection.sendall(request)
            response = http.client.HTTPResponse(connection)
            response.begin()
            body = response.read()
            return response.status, response.headers, json.loads(body) if body else None

    def logged(self, text: str) -> str:
        """Wait for a line of the log that has this text in it."""
        until(lambda: text in self.log.read_text(), describe=self.log.read_text)
        return next(line for line in self.log.read_text().splitlines() if text in line)

    def until_it_trusts(self) -> None:
        """Wait for it to have fetched the keys, which it does beside its start."""
        until(lambda: self.client.get("/api/v1/tools").status_code != 503, describe=self.log.read_text)

    def until(self, condition: Callable[[], bool]) -> None:
        """Wait for something to be so."""
        until(condition, describe=self.log.read_text)

    def get(self, path: str, *headers: str) -> tuple[int, http.client.HTTPMessage, Any]:
        """Request a path exactly as it is spelled."""
        lines = [f"GET {path} HTTP/1.1", "Host: localhost", "Connection: close", *headers, "", ""]
        return self.send("\r\n".join(lines).encode("latin-1"))


def environment(services: Services, folder: Path, **more: object) -> dict[str, str]:
    ports = {f"{name.upper().replace('-', '_')}_PORT": port for name, port in services.ports.items()}
    addresses = {name.replace("_PORT", "_ADDRESS"): "127.0.0.1" for name in ports}
    settings = {
        "ENVOY": envoy_binary(),
        "AUTH_ISSUER": ISSUER,
        "ALLOWED_ORIGINS": f"{LISTED}, https://app.example.com",
        "GATEWAY_ADDRESS": "127.0.0.1",
        "GATEWAY_CONFIG_OUT": folder / "envoy.yaml",
        "GATEWAY_CONCURRENCY": 1,
        "PATH": os.defpath,
        **ports,
        **addresses,
        **more,
    }
    return {name: str(value) for name, value in settings.items()}


@contextmanager
def running(services: Services, folder: Path, **settings: object) -> Iterator[Gateway]:
    """Start a gateway the way it is always started; back when it listens, ended by its process id."""
    port, admin, internal = free_port(), free_port(), free_port()
    ports = {"GATEWAY_PORT": port, "GATEWAY_ADMIN_PORT": admin, "GATEWAY_INTERNAL_PORT": internal}
    log = folder / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            ["sh", GATEWAY / "start.sh"],
            env=environment(services, folder, **ports, **settings),
            stdout=output,
            stderr=output,
        )
    client = httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=60)
    try:
        until(lambda: listens(port) or process.poll() is not None, describe=log.read_text)
        assert process.poll() is None, log.read_text()
        yield Gateway(port, internal, client, log)
    finally:
        client.close()
        process.terminate()
        process.wait(10)


def listens(port: int) -> bool:
    with contextlib.suppress(OSError):
        socket.create_connection(("127.0.0.1", port)).close()
        return True
    return False


@pytest.fixture(scope="session")
def services() -> Iterator[Services]:
    """The five services."""
    services = Services()
    with serving(*(services.app(name) for name in SERVICES)) as ports:
        services.ports.update(zip(SERVICES, ports, strict=True))
        yield services


@pytest.fixture(scope="session")
def gateway(services: Services, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway with the settings that it has by default."""
    with running(services, tmp_path_factory.mktemp("gateway")) as gateway:
        gateway.client.headers["Authorization"] = f"Bearer {services.token()}"
        gateway.until_it_trusts()
        yield gateway


@pytest.fixture(scope="session")
def tuned(services: Services, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway with other settings: behind one proxy, with a collector, and two services lost."""
    with ExitStack() as stack:
        settings = {
            "TRUSTED_HOPS": 1,
            "GATEWAY_AUTH_RATE_PER_MINUTE": 3,
            "GATEWAY_HSTS": "true",
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{services.ports['auth']}",
            "CONVERSATION_PORT": stack.enter_context(dying(services.attempts)),
            "NOTIFICATION_PORT": free_port(),
        }
        folder = tmp_path_factory.mktemp("tuned")
        gateway = stack.enter_context(running(services, folder, **settings))
        gateway.client.headers["Authorization"] = f"Bearer {services.token()}"
        gateway.until_it_trusts()
        yield gateway


@pytest.fixture(scope="session")
def impatient(services: Services, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway that waits a second for an ordinary answer, for the tests of this limit alone."""
    folder = tmp_path_factory.mktemp("impatient")
    with running(services, folder, GATEWAY_TIMEOUT_SECONDS=SHORT_SECONDS) as gateway:
        gateway.client.headers["Authorization"] = f"Bearer {services.token()}"
        gateway.until_it_trusts()
        yield gateway


@pytest.fixture(scope="session")
def client(gateway: Gateway) -> httpx.Client:
    """Somebody who is signed in."""
    return gateway.client


@pytest.fixture(scope="session")
def stranger(gateway: Gateway) -> Iterator[httpx.Client]:
    """Somebody who is not."""
    with httpx.Client(base_url=gateway.client.base_url, trust_env=False, timeout=60) as client:
        yield client


@pytest.fixture
def start(services: Services, tmp_path: Path) -> Callable[..., Any]:
    """Start one more gateway: `with start(AUTH_PORT=1) as gateway`."""
    return lambda **settings: running(services, tmp_path, **settings)


@pytest.fixture
def script(services: Services, tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Have start.sh fill the configuration in, and Envoy only validate it."""

    def run(**settings: object) -> subprocess.CompletedProcess[str]:
        variables = environment(services, tmp_path, **settings)
        argv = ["sh", str(GATEWAY / "start.sh"), "--mode", "validate"]
        return subprocess.run(argv, env=variables, capture_output=True, text=True, timeout=60, check=False)

    return run


@pytest.fixture
def folder() -> Path:
    """Where the gateway's files are."""
    return GATEWAY


@pytest.fixture
def serve() -> Callable[..., Any]:
    """Serve apps: `with serve(app) as [port]`."""
    return serving


def is_problem(response: httpx.Response, status: int, code: str) -> None:
    """Check that an answer is the problem it should be, or under /v1 the error."""
    problem = response.json()
    if response.url.path.startswith("/v1/"):
        assert (response.status_code, problem["error"]["code"]) == (status, code), problem
        assert response.headers["content-type"] == "application/json"
        return
    assert response.status_code == status, problem
    assert response.headers["content-type"] == "application/problem+json"
    assert problem.keys() == {"type", "title", "status", "detail", "code", "request_id"}
    assert (problem["status"], problem["code"]) == (status, code)
    assert problem["type"] == f"urn:acme:{code}"
    assert problem["request_id"] == response.headers["x-request-id"]


@pytest.fixture
def assert_problem() -> Callable[[httpx.Response, int, str], None]:
    """Check an answer: `assert_problem(response, 404, "not_found")`."""
    return is_problem
