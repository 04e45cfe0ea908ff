"""Which addresses the gateway knows, and where they lead."""

import pytest

PUBLIC = {
    "/.well-known": "auth",
    "/.well-known/openid-configuration": "auth",
    "/api/v1/auth/me": "auth",
    "/api/v1/auth/sessions/1": "auth",
    "/api/v1/tenants": "auth",
    "/api/v1/tenants/1/members": "auth",
    "/api/v1/chat": "chat-agent",
    "/api/v1/chat/other": "chat-agent",
    "/api/v1/runs": "chat-agent",
    "/api/v1/runs/1": "chat-agent",
    "/api/v1/runs/1/events": "chat-agent",
    "/api/v1/agents": "chat-agent",
    "/api/v1/agents/chat": "chat-agent",
    "/api/v1/agents/triage/status": "chat-agent",
    "/api/v1/agents/triage/ag-ui": "chat-agent",
    "/api/v1/chat/ui": "chat-agent",
    "/api/v1/chat/ui/1/stream": "chat-agent",
    "/api/v1/tools": "chat-agent",
    "/v1/models": "chat-agent",
    "/v1/chat/completions": "chat-agent",
    "/v1/responses": "chat-agent",
    "/v1/responses/resp_1": "chat-agent",
    "/api/v1/conversations": "conversation",
    "/api/v1/conversations/1/items": "conversation",
    "/api/v1/billing/tenants/1/usage": "billing-webhook",
    "/api/v1/billing/stream": "billing-webhook",
    "/webhooks/stripe": "billing-webhook",
    "/api/v1/notifications": "notification",
    "/api/v1/notifications/1": "notification",
    "/api/v1/webhook-endpoints": "notification",
    "/webhooks/resend": "notification",
}
UNKNOWN = [
    "/other",
    "/demo",
    "/demo/",
    "/demo/a/b",
    "/docs/",
    "/docs/assets",
    "/docs/assets/a/b",
    "/internal",
    "/internal/v1/conversations",
    "/healthz",
    "/readyz",
    "/metrics",
    "/openapi.json",
    "/openapi/other.json",
    "/docs/auth/more",
    "/api/v1",
    "/api/v1/other",
    "/api/v1/chatty",
    "/api/v1/authority",
    "/api/v1/conversations-of-others",
    "/v10/models",
    "/webhooks/stripe/more",
    "/webhooks/other",
    "/API/v1/auth/me",
    "/.well-knowing",
]
DETOURS = [
    "//internal",
    "/internal/",
    "/./internal",
    "/api/v1/../../internal",
    "/api/v1/auth/../../../internal",
    "/api/v1/auth/%2e%2e/%2e%2e/%2E%2E/internal",
    "/.well-known/../internal/v1/x",
    "/%69nternal",
    "/api/v1/auth\\..\\..\\..\\internal",
    "http://localhost/internal",
]


@pytest.mark.parametrize(("path", "service"), PUBLIC.items())
def test_leads_each_public_path_to_its_service(client, path, service):
    answer = client.get(path)

    assert answer.status_code == 200
    assert (
        (answer.json()["service"], answer.json()["path"]) == (service, path) if "jwks" not in path else True
    )


@pytest.mark.parametrize("path", [*PUBLIC, "/openapi/auth.json", "/docs/notification"])
def test_passes_head_on_wherever_get_goes(client, path):
    head, get = client.head(path), client.get(path)

    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-type"] == get.headers["content-type"]


def test_answers_head_without_a_body(client, stranger):
    for answer in (client.head("/nowhere"), stranger.head("/api/v1/tenants"), stranger.head("/v1/models")):
        assert answer.status_code in {401, 404}
        assert answer.content == b""
        assert int(answer.headers["content-length"]) > 0


@pytest.mark.parametrize("path", UNKNOWN)
def test_knows_no_other_path_and_asks_no_token_to_say_so(client, stranger, path, assert_problem):
    assert_problem(client.get(path), 404, "not_found")
    assert_problem(stranger.get(path), 404, "not_found")


@pytest.mark.parametrize("path", DETOURS)
def test_is_not_led_inside_by_a_detour(gateway, path):
    status, _, problem = gateway.get(path)

    assert (status, problem["code"]) == (404, "not_found")


@pytest.mark.parametrize(
    "path", ["/api/v1/auth/..%2f..%2finternal", "/..%5Cinternal", "/api%2Fv1/auth/me", "/a%00b"]
)
def test_refuses_paths_with_hidden_separators(gateway, path):
    status, headers, problem = gateway.get(path)

    assert (status, problem["code"]) == (400, "bad_request")
    assert problem["request_id"] == headers["x-request-id"]


@pytest.mark.parametrize(
    "path", ["/.well-known/../api/v1/auth/me", "/.well-known/%2e%2e/api/v1/tenants", "//api//v1/auth/me"]
)
def test_asks_for_a_token_on_every_way_to_a_protected_path(gateway, path):
    assert gateway.get(path)[0] == 401


@pytest.mark.parametrize("service", ["auth", "chat-agent", "conversation", "billing-webhook", "notification"])
def test_shows_what_each_service_says_about_itself(stranger, service):
    document = stranger.get(f"/openapi/{service}.json").json()
    page = stranger.get(f"/docs/{service}?theme=dark").json()

    assert (document["service"], document["path"]) == (service, f"/openapi/{service}.json")
    assert (page["service"], page["path"], page["query"]) == (service, f"/docs/{service}", "theme=dark")


@pytest.mark.parametrize("path", ["/", "/demo/demo.js", "/docs", "/docs/assets/swagger-ui.css"])
def test_shows_the_pages_of_development(stranger, path):
    page = stranger.get(path).json()

    assert (page["service"], page["path"]) == ("chat-agent", path)


def test_takes_nothing_at_the_documents(stranger, assert_problem):
    assert_problem(stranger.post("/openapi/auth.json", json={}), 404, "not_found")


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE"])
def test_passes_methods_bodies_and_queries_on(client, method):
    seen = client.request(method, "/api/v1/tenants?limit=5", json={"name": "x"}).json()

    assert (seen["method"], seen["query"], seen["received"]) == (method, "limit=5", 12)


def test_refuses_to_be_a_forward_proxy(gateway):
    status, _, problem = gateway.send(b"CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\r\n")

    assert (status, problem["code"]) == (403, "forbidden")
