"""A repetition of a request is authorised as a fresh request is, in every protocol."""

from uuid import uuid4

from chat_agent.main import create_app
from testkit.app import running
from testkit.replays import PreparedRequest, find_wrong_replays

HELLO = [{"role": "user", "content": "Hello"}]
UI_MESSAGE = {"id": "m1", "role": "user", "parts": [{"type": "text", "text": "Hello"}]}
AG_UI_MESSAGE = {"id": "m1", "role": "user", "content": "Hello"}


def always(url, make):
    async def sent(_owner):
        return PreparedRequest(url, make())

    return sent


def a_thread():
    return {"threadId": str(uuid4()), "runId": "r1", "messages": [AG_UI_MESSAGE], "tools": [], "context": []}


REQUESTS = {
    "/api/v1/chat": lambda: {"message": "Hello"},
    "/api/v1/agents/chat": lambda: {"message": "Hello"},
    "/api/v1/chat/stream": lambda: {"message": "Hello"},
    "/api/v1/runs": lambda: {"message": "Hello"},
    "/v1/chat/completions": lambda: {"model": "triage", "messages": HELLO},
    "/v1/responses": lambda: {"model": "triage", "input": "Hello"},
    "/api/v1/chat/ui": lambda: {"id": str(uuid4()), "messages": [UI_MESSAGE]},
}
MAKERS = {
    **{("POST", path): always(path, make) for path, make in REQUESTS.items()},
    ("POST", "/api/v1/agents/{name}/ag-ui"): always("/api/v1/agents/triage/ag-ui", a_thread),
}


async def test_a_repetition_is_refused_as_a_fresh_request_is(settings, issuer):
    async with running(create_app(settings)) as app:
        assert await find_wrong_replays(app, issuer, MAKERS) == []
