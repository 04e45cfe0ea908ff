"""Who runs the service learns that people have conversations, and not what is in them."""

from uuid import uuid4

from conversation.main import create_app
from testkit.app import client, running

WORDS, TITLE = "canary-words that nobody else should read", "Canary title"
ITEMS = [{"id": "m1", "data": {"role": "user", "content": WORDS}}]


async def test_logs_no_content_and_no_token(settings, issuer, captured_telemetry):
    tenant, subject = uuid4(), f"user:{uuid4()}"
    token = issuer.token(tenant_id=tenant, subject=subject)
    machine = issuer.service_token("chat-agent", audience="conversation", scope="conversations:read")
    async with (
        running(create_app(settings.model_copy(update={**captured_telemetry.settings}))) as app,
        client(app, token) as ann,
        client(app.state.internal, machine, **{"Acme-On-Behalf-Of": f"{tenant}/{subject}"}) as inside,
    ):
        path = "/api/v1/conversations"
        begun = (await ann.post(path, json={"title": TITLE})).json()["conversation_id"]
        assert (await ann.post(f"{path}/{begun}/items", json={"items": ITEMS})).status_code == 200
        changed = [{**ITEMS[0], "data": {"role": "user", "content": f"{WORDS}!"}}]
        assert (await ann.post(f"{path}/{begun}/items", json={"items": changed})).status_code == 409
        assert (await ann.post(f"{path}/{begun}/items", json={"items": WORDS})).status_code == 422
        for asking, where in ((ann, f"{path}/search"), (inside, "/internal/v1/search")):
            response = await asking.get(where, params={"query": "canary-words", "access_token": token})
            assert len(response.json()["items"]) == 1
    assert captured_telemetry.instrumented_libraries >= {"fastapi", "sqlalchemy", "redis"}
    assert captured_telemetry.leaks(token, machine, WORDS, TITLE, "canary-words") == []
