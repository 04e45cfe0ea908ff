"""How much and how long: bodies, streams, timeouts, rates and retries."""

import re

import pytest
from sandbox.embedded import free_port
from servicekit.auth.dependencies import every_route
from testkit import contract_documents

EVENTS = {"Accept": "text/event-stream"}
MIB = 1024 * 1024
HOOK = 256 * 1024
WITH_BODIES = {"POST", "PUT", "PATCH", "DELETE"}


def chunked(size):
    step = 60_000
    yield from (b"x" * min(step, size - start) for start in range(0, size, step))


def limits():
    """Return every public route that takes a body, and how much its service takes."""
    for service in contract_documents.services():
        for route in every_route(contract_documents.app_of(service).routes):
            for method in sorted(WITH_BODIES & set(route.methods or ())):
                yield method, re.sub(r"{\w+(:\w+)?}", "1", route.path), route.max_body_size


@pytest.mark.parametrize(("method", "path", "limit"), [*limits()])
def test_takes_and_refuses_the_bodies_that_the_service_takes_and_refuses(
    gateway, client, services, method, path, limit, assert_problem
):
    services.second_half.set()
    assert client.request(method, path, content=b"x" * limit).status_code == 200
    assert_problem(client.request(method, path, content=b"x" * (limit + 1)), 413, "payload_too_large")
    status, _, problem = gateway.send(
        f"{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {limit + 1}\r\n\r\n".encode()
    )
    assert (status, problem.get("error", problem)["code"]) == (413, "payload_too_large")


@pytest.mark.parametrize(
    ("path", "limit"),
    [
        ("/api/v1/auth/token", 16 * 1024),
        ("/api/v1/tenants", 16 * 1024),
        ("/api/v1/webhook-endpoints", 64 * 1024),
        ("/webhooks/stripe", HOOK),
        ("/webhooks/resend", HOOK),
        ("/api/v1/conversations/1/items", MIB),
        ("/v1/conversations", MIB),
        ("/v1/responses", 32 * MIB),
        ("/api/v1/chat", 32 * MIB),
    ],
)
def test_counts_a_body_that_does_not_say_how_large_it_is(client, path, limit, assert_problem):
    assert client.post(path, content=chunked(limit)).json()["received"] == limit
    assert_problem(client.post(path, content=chunked(limit + 1)), 413, "payload_too_large")


@pytest.mark.parametrize(("path", "size"), [("/api/v1/chat", 5 * 2**30), ("/webhooks/stripe", HOOK + 1)])
def test_does_not_wait_for_a_body_that_says_it_is_too_large(gateway, path, size):
    status, _, problem = gateway.send(
        f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {size}\r\n\r\n".encode()
    )

    assert (status, problem["code"]) == (413, "payload_too_large")


def test_passes_each_part_of_a_stream_on_at_once(client, services):
    services.second_half.clear()
    with client.stream("POST", "/api/v1/chat/stream", json={"message": "hello"}) as answer:
        parts = answer.iter_text()
        assert next(parts) == "data: first\n\n"
        services.second_half.set()
        assert "".join(parts) == "data: second\n\n"


def test_compresses_no_stream(client, services):
    services.second_half.set()

    answer = client.post("/api/v1/chat/stream", headers={"Accept-Encoding": "gzip, br"})

    assert answer.headers["content-type"].startswith("text/event-stream")
    assert "content-encoding" not in answer.headers


def test_gives_up_on_a_service_that_does_not_answer(impatient, assert_problem):
    assert_problem(impatient.client.get("/api/v1/tools/never"), 504, "upstream_timeout")


@pytest.mark.parametrize("path", ["/v1/late", "/api/v1/agents/late/ag-ui"])
def test_waits_where_answers_take_their_time(impatient, path):
    assert impatient.client.get(path).json() == {"late": True}


def test_says_when_a_service_is_away(tuned, assert_problem):
    refusal = tuned.client.get("/api/v1/notifications")

    assert_problem(refusal, 503, "upstream_unavailable")
    assert refusal.headers["retry-after"] == "2"


def test_an_event_source_waits_for_keys_too(start, services, monkeypatch):
    monkeypatch.setattr(services, "know_keys", False)
    with start() as gateway:
        refusal = gateway.client.get(
            "/api/v1/runs/1/events", headers={**EVENTS, "Authorization": f"Bearer {services.token()}"}
        )
    assert (refusal.status_code, refusal.headers["content-type"]) == (200, "text/event-stream")


def test_the_answer_in_an_outage_is_a_stream_without_events(tuned):
    answer = tuned.client.get("/api/v1/notifications", headers={**EVENTS, "Origin": "http://localhost:3000"})

    assert (answer.status_code, answer.text) == (200, ": unavailable\nretry: 3000\n")
    assert answer.headers["content-type"] == "text/event-stream"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["access-control-allow-origin"] == "http://localhost:3000"
    assert "www-authenticate" not in answer.headers


@pytest.mark.parametrize("accept", ["application/json", "*/*"])
def test_an_outage_is_a_problem_document(tuned, accept, assert_problem):
    answer = tuned.client.get("/api/v1/notifications", headers={"Accept": accept})

    assert_problem(answer, 503, "upstream_unavailable")


def test_an_outage_is_a_problem_document_where_a_run_starts(tuned, assert_problem):
    assert_problem(tuned.client.post("/api/v1/notifications", headers=EVENTS), 503, "upstream_unavailable")


def test_goes_on_as_soon_as_the_service_is_back(start, serve, services):
    port = free_port()
    with start(NOTIFICATION_PORT=port) as gateway:
        gateway.client.headers["Authorization"] = f"Bearer {services.token()}"
        gateway.until_it_trusts()
        away = {gateway.client.get("/api/v1/notifications").status_code for _ in range(25)}
        with serve(services.app("notification"), port=port):
            back = {gateway.client.get("/api/v1/notifications").status_code for _ in range(5)}

    assert (away, back) == ({503}, {200})


@pytest.mark.parametrize(("method", "attempts"), [("GET", 2), ("POST", 1), ("PATCH", 1), ("DELETE", 1)])
def test_repeats_only_what_is_safe_and_only_once(tuned, services, method, attempts, assert_problem):
    services.attempts.clear()

    assert_problem(tuned.client.request(method, "/api/v1/conversations"), 503, "upstream_unavailable")

    assert services.attempts == [method] * attempts


def sign_in(tuned, address, path="/api/v1/auth/token"):
    return tuned.client.post(path, headers={"X-Forwarded-For": address})


def test_limits_how_often_one_client_may_try_to_sign_in(tuned, assert_problem):
    tries = [sign_in(tuned, "203.0.113.1") for _ in range(4)]

    assert [each.status_code for each in tries] == [200, 200, 200, 429]
    assert_problem(tries[-1], 429, "rate_limited")
    assert tries[-1].headers["retry-after"] == "20"
    assert tries[-1].headers["ratelimit"] == '"gateway-auth";r=0;t=20'
    assert tries[-1].headers["ratelimit-policy"] == '"gateway-auth";q=3;w=60'


def test_limits_nobody_else(tuned):
    for _ in range(4):
        sign_in(tuned, "203.0.113.2")

    assert sign_in(tuned, "203.0.113.3").status_code == 200
    assert sign_in(tuned, "203.0.113.2", "/api/v1/auth/me").status_code == 200


def test_counts_a_network_of_version_6_as_one_client(tuned):
    tries = [sign_in(tuned, f"2001:db8:0:1::{number}") for number in range(1, 5)]

    assert [each.status_code for each in tries] == [200, 200, 200, 429]


def test_refuses_web_sockets(gateway, services):
    status, _, problem = gateway.get(
        "/api/v1/chat/stream",
        f"Authorization: Bearer {services.token()}",
        "Connection: Upgrade",
        "Upgrade: websocket",
    )

    assert (status, problem["code"]) == (403, "forbidden")
