"""Bodies of many MiB: images and files work in every protocol, and the worst cost no more than others."""

import base64
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any
from uuid import uuid4

import httpx
import pytest
from chat_agent.attachments.request_data import MAX_TEXT_BYTES
from chat_agent.main import create_app
from chat_agent.schemas import MAX_MESSAGE_BODY, MESSAGE_BODY
from chat_agent.settings import IMAGES_AND_FILES, Settings
from servicekit.request_limits import LARGE_BODY
from testkit.app import running
from testkit.live_server import NO_AUTHORITIES, serving
from testkit.request_costs import (
    ATTEMPTS,
    Cost,
    callers_of,
    costs_table,
    find_excesses,
    measure_memory,
    measure_time,
)
from testkit.worst_bodies import BODY_KINDS, all_routes_with_body

from .client_helpers import text_of

Json = dict[str, Any]
MIB = 1024 * 1024
# All bytes, so that base64 has all of its letters.
IMAGE = bytes(range(256)) * (18 * MIB // 256)
DATA = base64.b64encode(IMAGE).decode()
URL = f"data:image/png;base64,{DATA}"
SEEN = f"image/png of {len(IMAGE)} bytes"
JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def settings(settings: Settings) -> Settings:
    inputs = {"sandbox-large": IMAGES_AND_FILES}
    return settings.model_copy(update={"model_inputs": inputs, "max_message_body_bytes": MAX_MESSAGE_BODY})


def bodies(url: str = URL, data: str = DATA) -> dict[str, Json]:
    image = {"type": "image_url", "image_url": {"url": url}}
    thread = {"threadId": str(uuid4()), "runId": "1", "tools": [], "context": [], "state": {}}
    source = {"type": "data", "value": data, "mimeType": "image/png"}
    return {
        "/v1/chat/completions": message(image),
        "/v1/responses": {"model": "triage", "input": [user({"type": "input_image", "image_url": url})]},
        "/api/v1/agents/triage/ag-ui": {
            **thread,
            "messages": [{"id": "1", "role": "user", "content": [{"type": "image", "source": source}]}],
        },
        "/api/v1/chat/ui": {
            "id": str(uuid4()),
            "messages": [
                {"id": "1", "role": "user", "parts": [{"type": "file", "mediaType": "image/png", "url": url}]}
            ],
        },
    }


def user(part: Json) -> Json:
    return {"role": "user", "content": [part]}


def message(part: Json, **more: Any) -> Json:
    return {"model": "triage", "messages": [user(part)], **more}


@pytest.mark.parametrize("path", [*bodies("", "")])
def test_an_image_of_many_megabytes_reaches_the_model(ann: httpx.Client, path: str) -> None:
    assert SEEN in text_of(ann.post(path, json=bodies()[path]))


def test_a_file_of_many_megabytes_reaches_the_model_with_escaped_slashes(ann: httpx.Client) -> None:
    url = f"data:application/pdf;base64,{DATA}"
    body = json.dumps(message({"type": "file", "file": {"filename": "a.pdf", "file_data": url}}))
    answer = ann.post("/v1/chat/completions", content=body.replace("/", r"\/"), headers=JSON)
    assert f"application/pdf of {len(IMAGE)} bytes" in text_of(answer)


def test_distinguishes_two_images(ann: httpx.Client) -> None:
    parts = [
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{DATA[: size * MIB]}"}}
        for size in (1, 2)
    ]
    body = {"model": "triage", "messages": [{"role": "user", "content": parts}]}
    answer = text_of(ann.post("/v1/chat/completions", json=body))
    assert f"image/png of {3 * MIB // 4} bytes" in answer
    assert f"image/png of {3 * MIB // 2} bytes" in answer


def test_base64_that_is_none_is_refused(ann: httpx.Client) -> None:
    url = f"data:image/png;base64,{'!' * 2 * MIB}"
    answer = ann.post("/v1/chat/completions", json=message({"type": "image_url", "image_url": {"url": url}}))
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_attachment")


@pytest.mark.parametrize(
    "text",
    ["x" * 900_000, "\U0001f600" * 900_000, 'a,b [c] \\ " \n' * 70_000],
    ids=["one letter", "wide", "escapes"],
)
@pytest.mark.parametrize("stream", [False, True])
def test_a_long_text_is_no_data(ann: httpx.Client, text: str, stream: bool) -> None:
    body = message({"type": "text", "text": text}, stream=stream, metadata={"data": "x"})
    padding = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{DATA[: 2 * MIB]}"}}
    body["messages"][0]["content"].append(padding)
    answer = ann.post("/v1/chat/completions", json=body)
    assert answer.status_code == 200, answer.text[:300]


FUNCTION = {"name": "f", "parameters": {"default": {"data": DATA[: 2 * MIB]}}}


@pytest.mark.parametrize(
    "more",
    [{"metadata": {"data": DATA[: 2 * MIB]}}, {"tools": [{"type": "function", "function": FUNCTION}]}],
    ids=["metadata", "tools"],
)
def test_data_elsewhere_is_refused(ann: httpx.Client, more: Json) -> None:
    answer = ann.post("/v1/chat/completions", json=message({"type": "text", "text": "Hi"}) | more)
    assert answer.status_code == 400, answer.text[:300]
    assert len(answer.content) < 4096


def test_more_text_than_is_parsed_is_refused(ann: httpx.Client) -> None:
    text = {"type": "text", "text": "x y " * 240_000}
    body = {"model": "triage", "messages": [user(text)] * 7}
    answer = ann.post("/v1/chat/completions", json=body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "payload_too_large")
    assert str(MAX_TEXT_BYTES) in answer.json()["error"]["message"]


def image(size: int) -> Json:
    return user({"type": "image_url", "image_url": {"url": url_of(size)}})


WORST = {
    **BODY_KINDS,
    "image": lambda size: json.dumps({"model": "triage", "messages": [image(size - 500)]}),
    "images": lambda size: json.dumps(
        {"model": "triage", "messages": [image(LARGE_BODY)] * (size // LARGE_BODY - 1)}
    ),
    "quotes": lambda size: '"' + r"\"" * (size // 2 - 2) + '"',
    "backslashes": lambda size: '{"url":"' + "\\" * (size - 12) + '"}',
    "one wide character": lambda size: '"\U0001f600' + "a" * (size - 8) + '"',
    "text as wide as may be": lambda _: '"\U0001f600' + "a" * (MAX_TEXT_BYTES - 8) + '"',
    "escapes as long as may be": lambda _: '"' + r"\n" * (MAX_TEXT_BYTES // 2 - 8) + '"',
    "whitespace": lambda size: " " * size,
}


def url_of(size: int) -> str:
    return f"data:image/png;base64,{(DATA + DATA)[: size // 4 * 4]}"


async def pieces(body: bytes) -> AsyncIterator[bytes]:
    """Yield a body as a server receives it."""
    for start in range(0, len(body), 64 * 1024):
        yield body[start : start + 64 * 1024]


async def measure(cost: Cost, sender: httpx.AsyncClient, url: str, body: bytes) -> None:
    """Measure what a body costs beyond its own bytes."""
    async with measure_time(cost):
        answer = await sender.post(url, content=pieces(body))
    async with measure_memory(cost):
        await sender.post(url, content=pieces(body))
    cost.status, cost.response_bytes = answer.status_code, len(answer.content)
    cost.megabytes -= len(body) / MIB
    cost.excess = [*find_excesses(cost)]


async def test_the_worst_bodies_cost_no_more_than_others(settings: Settings, issuer: Any) -> None:
    rates = {"chat_rate_limit_per_minute": 10_000, "chat_stream_rate_limit_per_minute": 10_000}
    values = {**settings.model_dump(), **rates, "run_workers": False, "invalid_requests_per_minute": 100_000}
    async with running(create_app(Settings.model_validate(values))) as app:
        callers = callers_of(issuer, app)
        routes = [one for one in all_routes_with_body(app) if one.limit > LARGE_BODY]
        assert len(routes) >= 8
        measured = []
        for kind, make in WORST.items():
            content = make(MAX_MESSAGE_BODY).encode()[:MAX_MESSAGE_BODY]
            for route in routes:
                # An agent that is not there: nothing runs.
                url = route.url.replace("triage", "nobody")
                body = content.replace(b'"triage"', b'"nobody"')
                cost = Cost(route.name, kind, "top")
                async with callers.client(route, **JSON) as sender:
                    for _ in range(ATTEMPTS):
                        await measure(cost, sender, url, body)
                        if not cost.excess:
                            break
                measured.append(cost)
    assert [cost for cost in measured if cost.excess] == [], "\n".join(costs_table(measured))


@pytest.fixture
def small(settings: Settings, issuer: Any) -> Iterator[httpx.Client]:
    limited = settings.model_copy(update={"max_message_body_bytes": 2 * MIB, "run_workers": False})
    headers = {"Authorization": f"Bearer {issuer.token(tenant_id=uuid4())}"}
    with (
        serving(create_app(limited)) as url,
        httpx.Client(base_url=url, headers=headers, timeout=60, verify=NO_AUTHORITIES) as client,
    ):
        yield client


def test_a_setting_says_how_large_a_body_may_be(small: httpx.Client) -> None:
    assert Settings.model_fields["max_message_body_bytes"].default == MESSAGE_BODY
    answer = small.post("/v1/chat/completions", json=bodies(url_of(2 * MIB))["/v1/chat/completions"])
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "payload_too_large")
