"""How long messages may be, in each protocol."""

from typing import Any
from uuid import uuid4

import httpx
import pytest
from chat_agent.settings import Settings

Json = dict[str, Any]


@pytest.fixture(scope="module")
def settings(settings: Settings) -> Settings:
    limits = {"max_message_characters": 200_000, "model_context_lengths": {"sandbox-large": 30_000}}
    return settings.model_copy(update=limits)


def bodies(message: str, earlier: str = "Hi") -> dict[str, Json]:
    texts = [("user", earlier), ("assistant", "Yes?"), ("user", message)]
    messages = [{"role": role, "content": text} for role, text in texts]
    parts = [
        {"id": str(number), "role": role, "parts": [{"type": "text", "text": text}]}
        for number, (role, text) in enumerate(texts)
    ]
    thread = {"threadId": str(uuid4()), "runId": "r", "tools": [], "context": [], "state": {}}
    return {
        "/v1/chat/completions": {"model": "triage", "messages": messages},
        "/v1/responses": {"model": "triage", "input": messages},
        "/api/v1/chat/ui": {"id": str(uuid4()), "messages": parts},
        "/api/v1/agents/triage/ag-ui": {
            **thread,
            "messages": [{"id": str(number), **one} for number, one in enumerate(messages)],
        },
        "/api/v1/chat": {"message": message},
        "/api/v1/chat/stream": {"message": message},
    }


PATHS = [*bodies("")]


def code_of(answer: httpx.Response) -> str:
    code: str = answer.json().get("error", answer.json())["code"]
    return code


@pytest.mark.parametrize("path", PATHS)
def test_a_message_of_the_longest_is_answered(ann: httpx.Client, path: str) -> None:
    answer = ann.post(path, json=bodies("x" * 200_000)[path])
    assert answer.status_code == 200, answer.text
    assert "x" * 20 in answer.text


@pytest.mark.parametrize("path", PATHS)
def test_a_longer_message_is_refused(ann: httpx.Client, path: str) -> None:
    answer = ann.post(path, json=bodies("x" * 200_001)[path])
    assert (answer.status_code, code_of(answer)) == (400, "message_too_long")
    assert "200000 characters" in answer.text


@pytest.mark.parametrize("path", PATHS[:4])
def test_more_than_fits_into_the_model_is_refused(ann: httpx.Client, path: str) -> None:
    answer = ann.post(path, json=bodies("x" * 150_000, earlier="y" * 150_000)[path])
    assert (answer.status_code, code_of(answer)) == (400, "message_too_long")
    assert "30000 tokens" in answer.text
