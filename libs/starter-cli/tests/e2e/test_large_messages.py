"""Large images and long messages, from OpenAI's client through the gateway to the model."""

import base64
from collections.abc import Iterator
from typing import Any

import pytest
from openai import OpenAI

from .conftest import Person

MIB = 1024 * 1024
IMAGE = bytes(range(256)) * (20 * MIB // 256)
URL = f"data:image/png;base64,{base64.b64encode(IMAGE).decode()}"
SEEN = f"image/png of {len(IMAGE)} bytes"
TEXT = "All of this was said before. " * 31_100
Json = dict[str, Any]


@pytest.fixture
def client(owner: Person) -> Iterator[OpenAI]:
    token = owner.http.headers["Authorization"].removeprefix("Bearer ")
    with OpenAI(base_url=f"{owner.http.base_url}/v1", api_key=token, max_retries=0, timeout=60) as one:
        yield one


def complete(client: OpenAI, content: Any, *, stream: bool) -> str:
    messages: Any = [{"role": "user", "content": content}]
    if not stream:
        completion = client.chat.completions.create(model="triage", messages=messages)
        return completion.choices[0].message.content or ""
    chunks = client.chat.completions.create(model="triage", messages=messages, stream=True)
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)


def respond(client: OpenAI, content: Any, *, stream: bool) -> str:
    items: Any = [{"role": "user", "content": content}]
    if not stream:
        return client.responses.create(model="triage", input=items).output_text
    events = client.responses.create(model="triage", input=items, stream=True)
    return "".join(event.delta for event in events if event.type == "response.output_text.delta")


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_an_image_of_20_mib(client: OpenAI, stream: bool) -> None:
    image: Json = {"type": "image_url", "image_url": {"url": URL}}
    assert SEEN in complete(client, [image], stream=stream)
    assert SEEN in respond(client, [{"type": "input_image", "image_url": URL}], stream=stream)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_a_message_of_900_000_characters(client: OpenAI, stream: bool) -> None:
    assert len(TEXT) > 900_000
    assert "said before" in complete(client, TEXT, stream=stream)
    assert "said before" in respond(client, TEXT, stream=stream)


def test_a_message_of_900_000_characters_is_stored_and_found(owner: Person) -> None:
    message = f"Lighthouses. {TEXT}"
    answer = owner.http.post("/api/v1/chat", json={"message": message}).json()
    stored = owner.messages(answer["conversation_id"])
    assert stored[0]["content"] == message
    query = {"query": "lighthouses"}
    items = owner.http.get("/api/v1/conversations/search", params=query).json()["items"]
    assert answer["conversation_id"] in {one["conversation_id"] for one in items}
