"""What the gateway answers itself under /v1 is an error as OpenAI has them."""

import openai
import pytest
from openai import OpenAI

HELLO = [{"role": "user", "content": "Hello"}]


@pytest.fixture
def ask():
    """Return a function that lets OpenAI's client call a gateway, and returns the error that it raises."""

    def ask(gateway, key, path="/models", **options):
        url = f"http://127.0.0.1:{gateway.port}/v1"
        with (
            openai.DefaultHttpxClient(trust_env=False) as http,
            OpenAI(base_url=url, api_key=key, max_retries=0, timeout=60, http_client=http) as client,
            pytest.raises(openai.APIStatusError) as refused,
        ):
            client.post(path, cast_to=object, **options)
        answer = refused.value.response
        assert answer.headers["content-type"] == "application/json"
        assert answer.headers["x-request-id"]
        assert answer.json().keys() == {"error"}
        assert answer.json()["error"].keys() == {"message", "type", "param", "code"}
        assert refused.value.param is None
        return refused.value

    return ask


@pytest.mark.parametrize(
    ("key", "code", "words"),
    [
        ("sk-nobody", "invalid_api_key", "mistyped"),
        ("acme_ak_12", "invalid_api_key", "mistyped"),
        (f"acme_ak_{'0a' * 16}_{'1b' * 36}x", "invalid_api_key", "mistyped"),
        ("a.b.c", "invalid_token", "API key or access token"),
    ],
)
def test_a_key_that_is_none(ask, gateway, key, code, words):
    error = ask(gateway, key)

    assert isinstance(error, openai.AuthenticationError)
    assert (error.code, error.type) == (code, "authentication_error")
    assert words in error.body["message"]
    assert error.response.headers["www-authenticate"].startswith("Bearer")


def test_a_token_that_has_expired(ask, gateway, services):
    error = ask(gateway, services.token(exp=1))

    assert (error.status_code, error.code) == (401, "invalid_token")
    assert "expired" in error.body["message"]


def test_a_body_that_is_too_large(ask, gateway, services):
    error = ask(gateway, services.token(), body={"input": "x" * 2**21})

    assert (error.status_code, error.code, error.type) == (413, "payload_too_large", "invalid_request_error")


def test_a_path_with_a_hidden_separator(ask, gateway, services):
    error = ask(gateway, services.token(), "/models/a%2Fb")

    assert (error.status_code, error.code, error.type) == (400, "bad_request", "invalid_request_error")


def test_a_service_that_is_away(ask, start, services):
    with start(CHAT_AGENT_PORT=1) as gateway:
        gateway.client.headers["Authorization"] = f"Bearer {services.token()}"
        gateway.until(lambda: gateway.client.get("/api/v1/auth/me").status_code == 200)
        error = ask(gateway, services.token())

    assert (error.status_code, error.code, error.type) == (503, "upstream_unavailable", "server_error")
    assert error.response.headers["retry-after"] == "2"


def test_keys_that_cannot_be_had(ask, start, services, monkeypatch):
    monkeypatch.setattr(services, "know_keys", False)
    with start() as gateway:
        error = ask(gateway, services.token())

    assert (error.status_code, error.code, error.type) == (503, "upstream_unavailable", "server_error")


def test_a_web_socket(gateway, services):
    status, headers, body = gateway.get(
        "/v1/realtime",
        f"Authorization: Bearer {services.token()}",
        "Connection: Upgrade",
        "Upgrade: websocket",
    )

    assert (status, headers["content-type"]) == (403, "application/json")
    assert (body["error"]["code"], body["error"]["type"]) == ("forbidden", "permission_error")
