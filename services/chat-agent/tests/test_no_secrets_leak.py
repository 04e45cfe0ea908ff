"""Who runs the service learns that people talk, and not what they say."""

import json
from uuid import uuid4

import httpx
from chat_agent.main import create_app
from testkit.live_server import NO_AUTHORITIES, serving
from testkit.token_matrix import API_KEY

MESSAGE = "My-canary-name is Ann Canary, mail ann@canary.example"
SEARCHED = "Search what we said about my-canary-name"
FAILING = "canary-that-fails [sandbox: error=400]"


def test_logs_no_content_and_no_token(settings, other_services, issuer, captured_telemetry):
    changes = {**captured_telemetry.settings, "service_client_secret": "what-chat-agent-proves"}
    received = type(settings).model_validate({**settings.model_dump(), **changes})
    token = issuer.token(role="owner", tenant_id=uuid4())
    texts: list[str] = []
    with (
        serving(create_app(received)) as url,
        httpx.Client(
            base_url=url, timeout=60, headers={"Authorization": f"Bearer {token}"}, verify=NO_AUTHORITIES
        ) as ann,
    ):
        for message in (MESSAGE, SEARCHED, FAILING):
            answer = ann.post("/api/v1/chat", json={"message": message})
            texts += [answer.json()["response"]] if answer.is_success else []
            ann.post("/api/v1/chat/stream", json={"message": message})
            request = {"model": "triage", "messages": [{"role": "user", "content": message}]}
            ann.post("/v1/chat/completions", json=request)
            ann.post("/api/v1/chat", json={"message": [message], message: 1})
        ann.get("/api/v1/runs", params={"access_token": token, "status": MESSAGE})
        ann.get("/api/v1/runs", headers={"Authorization": f"Bearer {API_KEY}"})
        ann.get("/api/v1/runs", headers={"Authorization": f"Bearer {token}x", "Cookie": f"a={token}"})
    assert len(texts) > 1
    assert captured_telemetry.instrumented_libraries >= {"fastapi", "sqlalchemy", "redis", "aiohttp_client"}
    events = {
        json.loads(line)["event"] for line in captured_telemetry.logs.split("\n") if line.startswith("{")
    }
    assert "http.response" in events
    secrets = (token, f"{token}x", API_KEY, "sk-sandbox", "what-chat-agent-proves")
    assert (
        captured_telemetry.leaks(
            *secrets, *texts, MESSAGE, "canary-name", "Canary", "canary.example", "canary-that"
        )
        == []
    )
