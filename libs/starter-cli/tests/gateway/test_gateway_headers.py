"""What the gateway adds, takes away and keeps: request id, trace, address, and what browsers are told."""

import re
from uuid import UUID

import pytest

LISTED = "http://localhost:3000"
PREFLIGHT = {
    "Access-Control-Request-Method": "PATCH",
    "Access-Control-Request-Headers": "authorization, if-match",
}
INSIDE = [
    "Acme-On-Behalf-Of",
    "Acme-Request-Id",
    "Acme-Traceparent",
    "Acme-Tenant",
    "Acme-E",
    "Acme-Else",
    "X-User-Id",
    "X-User",
    "X-Auth-Request-User",
    "X-Tenant",
    "X-Role",
    "X-Scopes",
    "X-Envoy-Retry-On",
    "X-Envoy-Upstream-Rq-Timeout-Ms",
    "X-Envoy-Original-Path",
    "X-Envoy-Internal",
    "X-Envoy-External-Address",
    "X-Envoy-Anything",
    "Forwarded",
    "X-Real-Ip",
    "X-Forwarded-Host",
    "X-Original-Url",
    "X-HTTP-Method-Override",
]
TRACE = "0af7651916cd43dd8448eb211c80319c"


def seen(client, headers):
    return client.get("/api/v1/auth/me", headers=headers).json()["headers"]


@pytest.mark.parametrize(
    "given", ["a", "request-1", "A.b_c:9", "x" * 128, "7b0d8d1a-6b57-4a8f-9a53-cf1d5ac1b3d5"]
)
def test_keeps_a_well_formed_request_id(client, given):
    answer = client.get("/api/v1/auth/me", headers={"X-Request-Id": given})

    assert answer.headers["x-request-id"] == given
    assert answer.json()["headers"]["x-request-id"] == given


@pytest.mark.parametrize(
    "given", [None, "", "two words", "x" * 129, 'a"b', "a,b", "a\tb", "ä".encode("latin-1")]
)
def test_makes_a_request_id_where_there_is_no_well_formed_one(client, given):
    headers = {} if given is None else {"X-Request-Id": given}

    answer = client.get("/api/v1/auth/me", headers=headers)

    assert UUID(answer.headers["x-request-id"])
    assert answer.json()["headers"]["x-request-id"] == answer.headers["x-request-id"]


def test_makes_a_new_request_id_of_two(gateway):
    _, headers, _ = gateway.get("/api/v1/auth/token", "X-Request-Id: one", "X-Request-Id: two")

    assert UUID(headers["x-request-id"])


def test_returns_the_request_id_with_its_own_answers(stranger):
    refusal = stranger.get("/api/v1/auth/me", headers={"X-Request-Id": "mine"})

    assert refusal.headers["x-request-id"] == refusal.json()["request_id"] == "mine"


@pytest.mark.parametrize(
    ("request_", "status", "code"),
    [
        (b"GET / HTTP/1.1\r\nHost: x\r\nno colon\r\n\r\n", 400, "bad_request"),
        (b"GET / HTTP/1.1\r\n\r\n", 400, "bad_request"),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", 400, "bad_request"),
        (
            b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
            400,
            "bad_request",
        ),
        (b"GET / HTTP/1.0\r\nHost: x\r\n\r\n", 426, "upgrade_required"),
        (b"GET / HTTP/1.1\r\nHost: x\r\nx: " + b"x" * 40_000 + b"\r\n\r\n", 431, "headers_too_large"),
        (b"GET / HTTP/1.1\r\nHost: x\r\n" + b"x: y\r\n" * 120 + b"\r\n", 431, "headers_too_large"),
    ],
)
def test_answers_malformed_requests_with_a_problem_and_an_id(gateway, request_, status, code):
    answered, headers, problem = gateway.send(request_)

    assert (answered, problem["status"], problem["code"]) == (status, status, code)
    assert headers["content-type"] == "application/problem+json"
    assert UUID(problem["request_id"]) == UUID(headers["x-request-id"])


@pytest.mark.parametrize("path", ["/api/v1/auth/me", "/api/v1/auth/token"])
def test_takes_away_what_only_the_inside_may_say(client, path):
    echoed = client.get(path, headers=dict.fromkeys(INSIDE, "spoofed")).json()["headers"]

    assert not [name for name in INSIDE if name.lower() in echoed]
    assert "spoofed" not in echoed.values()


def test_drops_headers_that_pass_for_others_by_an_underscore(gateway):
    _, _, echo = gateway.get("/api/v1/auth/token", "x_user_id: 1", "X_Tenant_Id: 2")

    assert not [name for name in echo["headers"] if "user" in name or "tenant" in name]


def test_lets_the_headers_of_the_contract_through(client):
    headers = {
        "X-Tenant-Id": "t",
        "Acme-End-User": "alice",
        "X-Tenant-Role": "viewer",
        "Idempotency-Key": "k",
        "If-Match": '"1"',
        "Last-Event-ID": "7",
        "Stripe-Signature": "t=1",
    }

    echoed = client.post("/api/v1/tenants", headers=headers).json()["headers"]

    assert {name: echoed.get(name.lower()) for name in headers} == headers


def test_believes_nobody_about_their_address(client):
    assert seen(client, {"X-Forwarded-For": "203.0.113.9"})["x-forwarded-for"] == "127.0.0.1"


@pytest.mark.parametrize(
    ("claimed", "derived"),
    [
        ("203.0.113.9", "203.0.113.9"),
        ("198.51.100.1, 203.0.113.9", "203.0.113.9"),
        ("2001:db8::1", "2001:db8::1"),
        ("nonsense", "127.0.0.1"),
        ("", "127.0.0.1"),
    ],
)
def test_believes_the_proxy_before_it_and_nobody_before_that(tuned, claimed, derived):
    assert seen(tuned.client, {"X-Forwarded-For": claimed})["x-forwarded-for"] == derived


@pytest.mark.parametrize("given", [None, "nonsense", "00-" + "0" * 32 + "-" + "0" * 16 + "-01"])
def test_starts_a_trace_for_who_brings_none(client, given):
    headers = {"traceparent": given} if given else {}

    assert re.fullmatch(r"00-(?!0{32})[0-9a-f]{32}-[0-9a-f]{16}-01", seen(client, headers)["traceparent"])


@pytest.mark.parametrize("sampled", ["00", "01"])
def test_carries_a_trace_on(client, sampled):
    given = f"00-{TRACE}-b7ad6b7169203331-{sampled}"

    carried = seen(client, {"traceparent": given})["traceparent"]

    assert carried != given
    assert re.fullmatch(f"00-{TRACE}-[0-9a-f]{{16}}-{sampled}", carried)


def test_reports_its_spans_to_the_collector(tuned, services):
    for _ in range(6):
        tuned.client.get("/api/v1/tools")

    assert b"gateway" in services.traces.get(timeout=60)


@pytest.mark.parametrize("origin", [LISTED, "https://app.example.com"])
def test_answers_preflights_of_listed_origins(stranger, origin):
    answer = stranger.options("/api/v1/tenants/1", headers={"Origin": origin, **PREFLIGHT})

    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == origin
    assert answer.headers["access-control-max-age"] == "3600"
    assert {"GET", "POST", "PUT", "PATCH", "DELETE"} <= listed(answer, "access-control-allow-methods")
    expected = {
        "authorization",
        "content-type",
        "idempotency-key",
        "last-event-id",
        "if-match",
        "x-tenant-id",
    }
    # What OpenAI's client sends beside, unasked.
    expected |= {
        "x-tenant-role",
        "x-request-id",
        "traceparent",
        "x-stainless-lang",
        "x-stainless-retry-count",
    }
    assert expected <= listed(answer, "access-control-allow-headers")
    assert "access-control-allow-credentials" not in answer.headers


def listed(answer, header):
    values = answer.headers[header].split(", ")
    return set(values) if header.endswith("methods") else {value.lower() for value in values}


@pytest.mark.parametrize(
    "origin",
    [
        "http://evil.example",
        "http://localhost:3000.evil.example",
        "https://localhost:3000",
        "HTTP://LOCALHOST:3000",
        "null",
    ],
)
def test_tells_other_origins_nothing(stranger, client, origin, assert_problem):
    preflight = stranger.options("/api/v1/tenants", headers={"Origin": origin, **PREFLIGHT})
    answer = client.get("/api/v1/tenants", headers={"Origin": origin})

    assert_problem(preflight, 403, "forbidden")
    assert not [name for name in [*preflight.headers, *answer.headers] if name.startswith("access-control")]


def test_lets_listed_origins_read_answers_and_refusals(client, stranger):
    answer = client.get("/api/v1/tenants", headers={"Origin": LISTED})
    refusal = stranger.get("/api/v1/tenants", headers={"Origin": LISTED})
    nowhere = stranger.get("/nowhere", headers={"Origin": LISTED})

    for each in (answer, refusal, nowhere):
        assert each.headers["access-control-allow-origin"] == LISTED
        assert {
            "x-request-id",
            "etag",
            "retry-after",
            "ratelimit",
            "ratelimit-policy",
            "idempotent-replayed",
            "x-quota-warning",
            "acme-run-id",
            "acme-conversation-id",
        } == listed(each, "access-control-expose-headers")
        assert "Origin" in each.headers["vary"]


def test_tells_browsers_to_be_careful(client, stranger, tuned):
    for answer in (client.get("/api/v1/auth/me"), stranger.get("/api/v1/auth/me"), stranger.get("/internal")):
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert "strict-transport-security" not in answer.headers
    assert tuned.client.get("/internal").headers["strict-transport-security"].startswith("max-age=")


def test_does_not_say_what_it_is_made_of(client):
    headers = client.get("/api/v1/auth/me").headers

    assert headers["server"] == "acme"
    assert not [name for name in headers if name.startswith("x-envoy")]


def test_logs_requests_without_their_query(tuned):
    tuned.client.get("/api/v1/tools?token=hidden", headers={"X-Request-Id": "logged-request"})

    line = tuned.logged("logged-request")

    assert '"path":"/api/v1/tools"' in line
    assert "hidden" not in line
