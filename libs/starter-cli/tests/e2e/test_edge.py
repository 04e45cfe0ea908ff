"""What the gateway lets through, with the real services behind it."""

import gzip
import re
from uuid import uuid4

import httpx
import pytest
from starter_cli.stack import Stack

from .conftest import Person, until

INSIDE = [
    "/internal/v1/oauth/token",
    "/internal/v1/conversations",
    "//internal/v1/oauth/token",
    "/api/v1/auth/../../../internal/v1/oauth/token",
    "/api/v1/auth/%2e%2e/%2e%2e/%2e%2e/internal/v1/oauth/token",
    "/api/v1/auth/..%2f..%2f..%2finternal/v1/oauth/token",
    "/healthz",
    "/readyz",
    "/metrics",
    "/openapi.json",
]
SERVICES = ["auth", "chat-agent", "conversation", "billing-webhook", "notification"]


@pytest.mark.parametrize("path", INSIDE)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_what_is_inside_cannot_be_reached(owner: Person, method: str, path: str) -> None:
    raw = httpx.URL(owner.http.base_url).copy_with(raw_path=path.encode())
    answer = owner.http.request(method, raw)
    assert answer.status_code in {400, 404}, answer.text
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("service", SERVICES)
def test_a_path_with_another_slash_is_not_found_and_redirects_nowhere(owner: Person, service: str) -> None:
    paths = owner.http.get(f"/openapi/{service}.json").json()["paths"]
    foreign = {"Host": "evil.example", "X-Forwarded-Host": "evil.example", "X-Forwarded-Proto": "ftp"}
    for path in paths:
        answer = owner.http.get(re.sub(r"{\w+}", str(uuid4()), path) + "/", headers=foreign)
        assert "location" not in answer.headers
        assert answer.status_code == 404, (path, answer.text)


@pytest.mark.parametrize("scheme", ["bearer", "BEARER"])
@pytest.mark.parametrize("path", ["/api/v1/conversations", "/v1/models", "/api/v1/auth/me", "/docs/auth"])
def test_head_and_schemes_in_any_case(owner: Person, scheme: str, path: str) -> None:
    token = owner.http.headers["Authorization"].removeprefix("Bearer ")
    headers = {"Authorization": f"{scheme} {token}"}
    head, get = (owner.http.request(method, path, headers=headers) for method in ("HEAD", "GET"))
    assert (head.status_code, head.content) == (get.status_code, b"") == (200, b"")
    assert head.headers["content-length"] == get.headers["content-length"] == str(len(get.content))


def test_a_compressed_body_is_read(owner: Person) -> None:
    body = gzip.compress(b'{"model": "triage", "messages": [{"role": "user", "content": "Hello"}]}')
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    answer = owner.http.post("/v1/chat/completions", content=body, headers=headers)
    assert answer.status_code == 200, answer.text
    refused = owner.http.post(
        "/v1/chat/completions", content=body, headers={**headers, "Content-Encoding": "zstd"}
    )
    assert (refused.status_code, refused.headers["accept-encoding"]) == (415, "gzip")
    assert refused.json()["error"]["code"] == "unsupported_content_encoding"


def test_the_keys_that_verify_tokens_are_public(stranger: Person) -> None:
    answer = stranger.http.get("/.well-known/jwks.json")
    assert [key["crv"] for key in answer.json()["keys"]] == ["Ed25519"] * len(answer.json()["keys"])
    assert "d" not in answer.json()["keys"][0]


def test_a_browser_of_a_listed_origin_may_call(stack: Stack, stranger: Person) -> None:
    requests = {"Access-Control-Request-Method": "PATCH", "Access-Control-Request-Headers": "authorization"}
    listed = {"Origin": "http://localhost:3000", **requests}
    answer = stranger.http.options("/api/v1/conversations", headers=listed)
    assert answer.headers["access-control-allow-origin"] == "http://localhost:3000"
    assert "PATCH" in answer.headers["access-control-allow-methods"]
    foreign = stranger.http.options(
        "/api/v1/conversations", headers={**listed, "Origin": "http://evil.example"}
    )
    assert "access-control-allow-origin" not in foreign.headers


def test_a_request_id_goes_all_the_way_and_comes_back(stack: Stack, owner: Person) -> None:
    answer = owner.http.get("/api/v1/conversations", headers={"X-Request-Id": "from-the-outside-1"})
    assert answer.headers["x-request-id"] == "from-the-outside-1"
    until(lambda: "from-the-outside-1" in stack.data_dir.log("conversation").read_text())
