"""Spans leave a service that is told where to; in a process of its own, which has its own providers."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

TRACE = "0af7651916cd43dd8448eb211c80319c"
SHOP = """
import asyncio

import pytest
from fastapi import APIRouter
from opentelemetry import trace
from servicekit.app import ResourcesDep, create_service
from servicekit.auth.dependencies import public
from servicekit.database import Database, Session
from servicekit.events.outbox import outbox
from servicekit.retention import RetentionWorker
from servicekit.http.client import send
from servicekit.settings import ServiceSettings
from servicekit.events.relay import Consumer, OutboxRelay
from sqlalchemy import MetaData, text
from testkit import busy_machine
from testkit.app import client, running

busy_machine.wait_longer(pytest.MonkeyPatch())

metadata = MetaData()
outbox.to_metadata(metadata)
router = APIRouter(dependencies=[public])


@router.get("/all")
async def all_(session: Session, resources: ResourcesDep) -> None:
    await session.execute(text("select 1"))
    await resources.redis.get("nothing")
    await send(resources.http, "GET", f"{resources.settings.otel_exporter_otlp_endpoint}/elsewhere")


def workers(resources):
    return [
        OutboxRelay(resources.database, resources.redis, source="shop", readers=["till"]),
        Consumer(resources.database, resources.redis, service="shop", sources=["auth"], handlers={}),
        RetentionWorker(resources.database),
    ]


async def main() -> None:
    settings = ServiceSettings()
    database = Database(settings.database_url, name="shop")
    async with database.engine.begin() as connection:
        await connection.run_sync(metadata.create_all)
    await database.close()
    shop = create_service("shop", settings, routers=[router], workers=workers)
    async with running(shop) as app, client(app) as http, client(app.state.internal) as inside:
        assert (await inside.get("/readyz")).status_code == 200
        answer = await http.get("/all", headers={"traceparent": "00-%s-b7ad6b7169203331-01"})
        assert answer.status_code == 200, answer.text
        await asyncio.sleep(2)
    trace.get_tracer_provider().force_flush()


asyncio.run(main())
""".replace("%s", TRACE)


class Collector(ThreadingHTTPServer):
    """A collector that keeps the spans, and the headers of other requests."""

    def __init__(self) -> None:
        self.spans: list[tuple[str, str]] = []
        self.carried: list[str | None] = []
        super().__init__(("127.0.0.1", 0), Request)


class Request(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        export = ExportTraceServiceRequest.FromString(self.rfile.read(int(self.headers["Content-Length"])))
        for resource in export.resource_spans:
            for scope in resource.scope_spans:
                name = scope.scope.name
                self.server.spans += [(name, span.trace_id.hex()) for span in scope.spans]
        self.answer()

    def do_GET(self) -> None:
        self.server.carried.append(self.headers["traceparent"])
        self.answer()

    def answer(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def test_one_trace_goes_through_http_postgres_and_redis(collector, databases, redis_url, issuer) -> None:
    variables = {
        "ENVIRONMENT": "test",
        "DEBUG": "true",
        "LOGGING_SINK": "none",
        "DATABASE_URL": databases.fresh("shop"),
        "REDIS_URL": redis_url,
        "AUTH_ISSUER": issuer.issuer,
        "AUTH_JWKS_URL": issuer.jwks_url,
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{collector.server_address[1]}",
    }
    subprocess.run([sys.executable, "-c", SHOP], env={**os.environ, **variables}, check=True, timeout=300)
    ours = {scope for scope, trace in collector.spans if trace == TRACE}
    assert {name.rpartition(".")[2] for name in ours} >= {"fastapi", "sqlalchemy", "redis", "aiohttp_client"}
    assert collector.carried[0]
    assert TRACE in collector.carried[0]
    # Nothing but the request: starting, polling and the readiness check leave no trace of their own.
    assert [span for span in collector.spans if span[1] != TRACE] == []
