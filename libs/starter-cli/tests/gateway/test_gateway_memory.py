"""Bodies that are held until they are whole take no more memory than the gateway may use."""

import contextlib
import socket

from .conftest import Gateway

MIB = 1024 * 1024
MAX_HEAP_MIB = 160


def upload(gateway: Gateway, token: str) -> socket.socket:
    """Begin an upload that is never whole."""
    head = [
        "POST /v1/files HTTP/1.1",
        "Host: localhost",
        f"Authorization: {token}",
        f"Content-Length: {32 * MIB}",
    ]
    connection = socket.create_connection(("127.0.0.1", gateway.port), timeout=60)
    # Refused already, or reset, it is no longer read.
    with contextlib.suppress(OSError):
        connection.sendall("\r\n".join([*head, "", ""]).encode())
        for _ in range(31):
            connection.sendall(b"x" * MIB)
    return connection


def test_many_large_bodies_are_refused_and_small_requests_pass_again(start, services, assert_problem) -> None:
    with start(GATEWAY_MAX_HEAP_MIB=MAX_HEAP_MIB) as gateway, contextlib.ExitStack() as stack:
        gateway.client.headers["Authorization"] = token = f"Bearer {services.token()}"
        gateway.until_it_trusts()
        for _ in range(MAX_HEAP_MIB // 31 + 1):
            stack.enter_context(contextlib.closing(upload(gateway, token)))
        gateway.until(lambda: gateway.client.get("/api/v1/tools").status_code == 503)
        refusal = gateway.client.post("/api/v1/runs", json={})
        assert_problem(refusal, 503, "gateway_overloaded")
        assert refusal.headers["retry-after"] == "2"
        alive = gateway.client.get(f"http://127.0.0.1:{gateway.internal_port}/healthz")
        assert alive.status_code == 200
        stack.pop_all().close()
        gateway.until(lambda: gateway.client.get("/api/v1/tools").status_code == 200)
