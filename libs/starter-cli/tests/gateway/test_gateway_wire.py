"""Requests that no client library sends: transfer codings, repeated and malformed hosts, HTTP/2 frames."""

import json
import socket

import pytest

PATH = "/api/v1/tenants"
CODINGS = [
    "gzip, chunked",
    "gzip",
    "deflate",
    "x",
    "identity",
    "identity, chunked",
    "chunked, gzip",
    "chunked, chunked",
    "chunked;q=1",
    '"chunked"',
    "",
    "gzip\r\nTransfer-Encoding: chunked",
]
MALFORMED_HOSTS = [
    "a\r\nHost: b",
    "a\r\nHost: a",
    "a\r\nhost: b",
    "a,b",
    "a, b",
    "user@a",
    "user:password@a",
    "a/b",
    "a b",
    "a\tb",
    "a?b",
    "a#b",
    "a\\b",
    "http://a",
    "a%41",
    "a;b",
    "*",
    "a:",
    "a:x",
    "[::1",
    "\xe9",
    "-a",
    "",
]
WELL_FORMED_HOSTS = [
    "localhost",
    "A.Example.com:8000",
    "127.0.0.1:80",
    "[::1]:8000",
    "my_host",
    "example.com.",
]


@pytest.fixture
def authorized(services):
    """The header lines of a request that the gateway would pass on."""
    return f"Authorization: Bearer {services.token()}\r\nConnection: close\r\n"


def is_refused(answer, status, code):
    received, headers, problem = answer
    assert (received, problem["status"], problem["code"]) == (status, status, code)
    assert headers["content-type"] == "application/problem+json"
    assert problem["request_id"] == headers["x-request-id"]


@pytest.mark.parametrize("coding", CODINGS)
def test_answers_501_to_a_transfer_coding_that_is_not_supported(gateway, authorized, coding):
    head = f"POST {PATH} HTTP/1.1\r\nHost: a\r\n{authorized}Transfer-Encoding: {coding}\r\n\r\n"

    answer = gateway.send(head.encode() + b"5\r\nhello\r\n0\r\n\r\n")

    is_refused(answer, 501, "transfer_coding_not_supported")


@pytest.mark.parametrize("coding", ["chunked", "gzip, chunked"])
def test_refuses_a_length_beside_a_transfer_coding(gateway, authorized, coding):
    framing = f"Transfer-Encoding: {coding}\r\nContent-Length: 5\r\n"
    head = f"POST {PATH} HTTP/1.1\r\nHost: a\r\n{authorized}{framing}\r\n"

    is_refused(gateway.send(head.encode() + b"5\r\nhello\r\n0\r\n\r\n"), 400, "bad_request")


@pytest.mark.parametrize("host", MALFORMED_HOSTS)
def test_refuses_repeated_and_malformed_hosts(gateway, authorized, host):
    request = f"GET {PATH} HTTP/1.1\r\nHost: {host}\r\n{authorized}\r\n"

    is_refused(gateway.send(request.encode("latin-1")), 400, "bad_request")


def test_refuses_a_request_without_a_host(gateway, authorized):
    is_refused(gateway.send(f"GET {PATH} HTTP/1.1\r\n{authorized}\r\n".encode()), 400, "bad_request")


@pytest.mark.parametrize("host", ["a\r\nHost: b", "user@a"])
def test_refuses_a_malformed_host_on_a_preflight_too(gateway, host):
    preflight = "Origin: http://localhost:3000\r\nAccess-Control-Request-Method: GET\r\n"

    answer = gateway.send(f"OPTIONS {PATH} HTTP/1.1\r\nHost: {host}\r\n{preflight}\r\n".encode())

    is_refused(answer, 400, "bad_request")


@pytest.mark.parametrize("host", WELL_FORMED_HOSTS)
def test_passes_a_well_formed_host_on(gateway, authorized, host):
    status, _, seen = gateway.send(f"GET {PATH} HTTP/1.1\r\nHost: {host}\r\n{authorized}\r\n".encode())

    assert (status, seen["headers"]["host"]) == (200, host)


def test_passes_the_only_host_on_when_another_header_names_none(gateway, authorized):
    """Envoy drops the empty one before any filter runs, so this cannot be refused."""
    request = f"GET {PATH} HTTP/1.1\r\nHost: a\r\nHost:\r\n{authorized}\r\n"

    assert gateway.send(request.encode())[2]["headers"]["host"] == "a"


@pytest.mark.parametrize("host", ["a", "b", "a\r\nHost: b"])
def test_replaces_the_host_header_by_the_host_of_an_absolute_target(gateway, authorized, host):
    """RFC 9112 section 3.2.2: the header is ignored, so nobody sees two hosts."""
    request = f"GET http://a{PATH} HTTP/1.1\r\nHost: {host}\r\n{authorized}\r\n"

    status, _, seen = gateway.send(request.encode())

    assert (status, seen["headers"]["host"]) == (200, "a")


@pytest.mark.parametrize("scheme", ["https", "ftp"])
def test_passes_no_absolute_target_of_another_scheme_on(gateway, authorized, scheme):
    status, headers, problem = gateway.send(
        f"GET {scheme}://a{PATH} HTTP/1.1\r\nHost: a\r\n{authorized}\r\n".encode()
    )

    assert (status, problem["status"]) in {(400, 400), (403, 403)}
    assert "location" not in headers


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3) + bytes([kind, flags]) + stream.to_bytes(4) + payload


def text(value: bytes) -> bytes:
    """Encode a string for HPACK, without Huffman coding (RFC 7541 section 5.2)."""
    if len(value) < 127:
        return bytes([len(value)]) + value
    rest, length = len(value) - 127, b"\x7f"
    while rest >= 128:
        rest, length = rest >> 7, length + bytes([rest & 127 | 128])
    return length + bytes([rest]) + value


def http2(gateway, services, *headers: tuple[str, str]):
    """Send one request over HTTP/2, and give the JSON of the answer; None when the stream was reset."""
    own = [(":method", "GET"), (":scheme", "http"), (":path", PATH)]
    lines = [*own, *headers, ("authorization", f"Bearer {services.token()}")]
    block = b"".join(b"\x00" + text(name.encode()) + text(value.encode()) for name, value in lines)
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=60) as connection:
        start = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0, b"")
        connection.sendall(start + frame(1, 5, 1, block))
        with connection.makefile("rb") as answer:
            body = b""
            while head := answer.read(9):
                payload = answer.read(int.from_bytes(head[:3]))
                body += payload if head[3] == 0 else b""
                if head[3] in {3, 7} or (head[3] in {0, 1} and head[4] & 1):
                    break
    return json.loads(body) if body else None


def test_passes_on_the_authority_of_http2_and_never_a_host_beside_it(gateway, services):
    """RFC 9113 section 8.3.1 would have such a request refused; Envoy drops the `host` field."""
    seen = http2(gateway, services, (":authority", "a"), ("host", "b"))

    assert seen["headers"]["host"] == "a"


@pytest.mark.parametrize("fields", [[(":authority", "a,b")], [("host", "a,b")]])
def test_refuses_a_malformed_authority_of_http2(gateway, services, fields):
    assert http2(gateway, services, *fields)["code"] == "bad_request"


@pytest.mark.parametrize(
    "fields",
    [
        [],
        [(":authority", "user@a")],
        [(":authority", "a/b")],
        [(":authority", "a"), (":authority", "b")],
        [("host", "a"), ("host", "b")],
        [(":authority", "a"), ("transfer-encoding", "gzip")],
    ],
)
def test_resets_what_http2_calls_malformed(gateway, services, fields):
    assert http2(gateway, services, *fields) is None
