"""Images and files in messages: what the model gets, where they are stored, and what becomes of them."""

import asyncio
import base64
import hashlib
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import httpx
import openai
import pytest
from chat_agent.main import create_app
from chat_agent.models import Base
from chat_agent.settings import IMAGES_AND_FILES, Settings
from chat_agent.worker import retention_rules
from openai import OpenAI
from redis import Redis
from servicekit.database import Database
from servicekit.retention import RetentionWorker
from testkit.databases import query
from testkit.eventually import until
from testkit.live_server import serving

from ..client_helpers import text_of
from ..conftest import OtherServices

# The smallest PNG: one pixel.
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
DATA = base64.b64encode(PNG).decode()
URL = f"data:image/png;base64,{DATA}"
SEEN = f"image/png of {len(PNG)} bytes"
PDF = f"data:application/pdf;base64,{base64.b64encode(b'%PDF-1.7').decode()}"
LINK = "https://93.184.215.14/cat.png"
Json = dict[str, Any]
Send = Callable[[httpx.Client, Json], httpx.Response]


@pytest.fixture(scope="module")
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"model_inputs": {"sandbox-large": IMAGES_AND_FILES}})


def completion(part: Json) -> tuple[str, Json]:
    content = [{"type": "text", "text": "What is this?"}, part]
    return "/v1/chat/completions", {"model": "triage", "messages": [{"role": "user", "content": content}]}


def response(part: Json) -> tuple[str, Json]:
    content = [{"type": "input_text", "text": "What is this?"}, part]
    return "/v1/responses", {"model": "triage", "input": [{"role": "user", "content": content}]}


def ag_ui(part: Json) -> tuple[str, Json]:
    content = [{"type": "text", "text": "What is this?"}, part]
    thread = {
        "threadId": str(uuid4()),
        "runId": "1",
        "messages": [{"id": "1", "role": "user", "content": content}],
    }
    return "/api/v1/agents/triage/ag-ui", {**thread, "tools": [], "context": [], "state": {}}


def ui(part: Json) -> tuple[str, Json]:
    parts = [{"type": "text", "text": "What is this?"}, part]
    return "/api/v1/chat/ui", {"id": str(uuid4()), "messages": [{"id": "1", "role": "user", "parts": parts}]}


IMAGES = {
    "completion": completion({"type": "image_url", "image_url": {"url": URL, "detail": "low"}}),
    "response": response({"type": "input_image", "image_url": URL}),
    "ag_ui": ag_ui({"type": "image", "source": {"type": "data", "value": DATA, "mimeType": "image/png"}}),
    "ag_ui_binary": ag_ui({"type": "binary", "mimeType": "image/png", "data": DATA}),
    "ui": ui({"type": "file", "mediaType": "image/png", "url": URL}),
}
FILES = {
    "completion": completion({"type": "file", "file": {"filename": "a.pdf", "file_data": PDF}}),
    "response": response({"type": "input_file", "filename": "a.pdf", "file_data": PDF}),
    "ag_ui": ag_ui({"type": "document", "source": {"type": "data", "value": PDF}}),
    "ui": ui({"type": "file", "mediaType": "application/pdf", "filename": "a.pdf", "url": PDF}),
}
LINKS = {
    "completion": completion({"type": "image_url", "image_url": {"url": LINK}}),
    "response": response({"type": "input_image", "image_url": LINK}),
    "ag_ui": ag_ui({"type": "image", "source": {"type": "url", "value": LINK}}),
    "ui": ui({"type": "file", "mediaType": "image/png", "url": LINK}),
}


def cases(requests: dict[str, tuple[str, Json]]) -> Any:
    return pytest.mark.parametrize(("path", "body"), requests.values(), ids=requests.keys())


def with_image(text: str) -> list[Json]:
    return [
        {
            "role": "user",
            "content": [{"type": "input_text", "text": text}, {"type": "input_image", "image_url": URL}],
        }
    ]


def attachments(settings: Settings) -> int:
    (row,) = query(settings.database_url.get_secret_value(), "select count(*) from attachments")
    return int(row[0])


def everything(settings: Settings, redis_url: str) -> str:
    """Write down all rows and logs."""
    url = settings.database_url.get_secret_value()
    tables = [name for name in Base.metadata.tables if name != "attachments"]
    rows = [str([tuple(row) for row in query(url, f"select * from {name}")]) for name in tables]  # noqa: S608
    with Redis.from_url(redis_url) as redis:
        logs = [str(redis.xrange(key)) for key in redis.scan_iter("run:*:events")]
    return "".join((*rows, *logs))


@cases(IMAGES)
def test_the_model_gets_an_image(ann: httpx.Client, path: str, body: Json) -> None:
    assert SEEN in text_of(ann.post(path, json=body))


@cases(FILES)
def test_the_model_gets_a_file(ann: httpx.Client, path: str, body: Json) -> None:
    assert "application/pdf of 8 bytes" in text_of(ann.post(path, json=body))


@cases(LINKS)
def test_the_model_gets_a_link_as_it_is(ann: httpx.Client, path: str, body: Json) -> None:
    assert f"a link to {LINK}" in text_of(ann.post(path, json=body))


def test_an_image_goes_over_the_older_protocol(ann: httpx.Client, settings: Settings) -> None:
    older = settings.model_copy(update={"openai_api": "chat_completions"})
    with serving(create_app(older)) as url:
        for path, body in (IMAGES["response"], FILES["response"]):
            assert "I was sent" in text_of(ann.post(f"{url}{path}", json=body))


def test_an_estimate_counts_an_image_and_not_its_bytes(ann: httpx.Client, settings: Settings) -> None:
    large = f"data:image/png;base64,{base64.b64encode(PNG * 8000).decode()}"
    path, body = response({"type": "input_image", "image_url": large})
    body["max_output_tokens"] = 10
    small = settings.model_copy(update={"run_token_budget": 20_000})
    with serving(create_app(small)) as url:
        assert ann.post(f"{url}{path}", json=body).json()["error"] is None


def test_an_image_needs_no_text(client: OpenAI) -> None:
    item: Any = {"role": "user", "content": [{"type": "input_image", "image_url": URL}]}
    assert SEEN in client.responses.create(model="triage", input=[item]).output_text


def test_the_data_is_stored_once_and_nowhere_else(
    client: OpenAI, other_services: OtherServices, settings: Settings, redis_url: str
) -> None:
    before = attachments(settings)
    first = client.responses.create(model="triage", input=with_image("What is this?"))
    again = client.responses.create(
        model="triage", input=with_image("And again?"), previous_response_id=first.id
    )
    assert again.output_text.count(SEEN) == 2
    assert attachments(settings) == before + 1
    assert DATA not in everything(settings, redis_url)
    items = str(other_services.items)
    assert DATA not in items
    assert "file-" in items


def test_the_model_gets_the_images_of_earlier_messages(client: OpenAI) -> None:
    first = client.responses.create(model="triage", input=with_image("What is this?"))
    second = client.responses.create(model="triage", input="And now?", previous_response_id=first.id)
    branch = client.responses.create(model="triage", input="Or now?", previous_response_id=first.id)
    assert SEEN in second.output_text
    assert SEEN in branch.output_text
    _, body = IMAGES["completion"]
    messages: Any = [*body["messages"], {"role": "assistant", "content": "A dot."}]
    whole = client.chat.completions.create(
        model="triage", messages=[*messages, {"role": "user", "content": "Sure?"}]
    )
    assert SEEN in whole.choices[0].message.content


def test_another_replica_goes_on_with_an_image(client: OpenAI, ann: httpx.Client, other_url: str) -> None:
    waiting = client.responses.create(
        model="triage", input=with_image("Forget it [sandbox: call=forget_conversation]")
    )
    [request] = [item for item in waiting.output if item.type == "mcp_approval_request"]
    decision = {"type": "mcp_approval_response", "approval_request_id": request.id, "approve": False}
    body = {"model": "triage", "input": [decision], "previous_response_id": waiting.id}
    assert SEEN in text_of(ann.post(f"{other_url}/v1/responses", json=body))


def test_nothing_remains_of_an_image_that_is_not_stored(
    client: OpenAI, other_services: OtherServices, settings: Settings
) -> None:
    before = attachments(settings)
    client.responses.create(model="triage", input=with_image("What is this?"), store=False)
    until(lambda: not other_services.items)
    until(lambda: attachments(settings) == before)


def test_an_image_is_deleted_with_its_response(client: OpenAI, settings: Settings) -> None:
    before = attachments(settings)
    first = client.responses.create(model="triage", input=with_image("What is this?"))
    assert attachments(settings) == before + 1
    client.responses.delete(first.id)
    assert attachments(settings) == before


def test_the_same_key_with_another_image_is_a_conflict(ann: httpx.Client) -> None:
    path, body = IMAGES["response"]
    key = {"Idempotency-Key": str(uuid4())}
    first, same = (ann.post(path, json=body, headers=key) for _ in range(2))
    assert first.headers["acme-run-id"] == same.headers["acme-run-id"]
    _, other = FILES["response"]
    assert ann.post(path, json=other, headers=key).status_code == 409


@pytest.mark.parametrize(
    "address",
    [
        "data:image/png;base64,%%%",
        "data:image/png;base64,",
        "data:image/png,abc",
        "data:image/svg+xml;base64,AAAA",
        "data:text/html;base64,AAAA",
        "https://10.1.2.3/cat.png",
        "cat.png",
    ],
)
def test_refuses_what_is_no_image_or_not_public(client: OpenAI, address: str) -> None:
    parts: Any = [{"type": "text", "text": "Look"}, {"type": "image_url", "image_url": {"url": address}}]
    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(model="triage", messages=[{"role": "user", "content": parts}])
    assert (refused.value.code, refused.value.param) == ("invalid_attachment", "messages[0].content[1]")


@pytest.mark.parametrize("kind", ["input_audio", "video", "image_url"])
def test_names_the_part_that_is_not_taken(client: OpenAI, kind: str) -> None:
    role = "assistant" if kind == "image_url" else "user"
    messages: Any = [{"role": role, "content": [{"type": kind, "image_url": {"url": URL}}]}]
    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(model="triage", messages=messages)
    assert refused.value.code == "unsupported_parameter"
    assert str(refused.value.param).startswith("messages[0].content")


def test_a_frontend_gets_the_name_of_a_part_that_is_refused(ann: httpx.Client) -> None:
    path, body = ag_ui(
        {"type": "audio", "source": {"type": "data", "value": "AAAA", "mimeType": "audio/wav"}}
    )
    problem = ann.post(path, json=body)
    assert (problem.status_code, problem.json()["code"]) == (400, "unsupported_content")
    assert problem.json()["param"] == "messages[0].content[1]"


def test_images_of_temporary_conversations_expire(client: OpenAI, settings: Settings) -> None:
    _, body = IMAGES["completion"]
    client.chat.completions.create(**body)
    stored_response = client.responses.create(model="triage", input=with_image("What is this?"))
    url = settings.database_url.get_secret_value()
    query(url, "update runs set ended_at = now() - interval '2 days'")

    async def clean() -> None:
        database = Database(settings.database_url, name="test")
        await RetentionWorker(database, rules=retention_rules(settings)).step()
        await database.close()

    asyncio.run(clean())
    rows = query(url, "select persistence from attachments join runs on runs.id = run_id")
    assert {row["persistence"] for row in rows} == {"permanent"}
    assert (
        SEEN
        in client.responses.create(
            model="triage", input="And now?", previous_response_id=stored_response.id
        ).output_text
    )


def test_images_are_erased_with_an_end_user(person: Callable[..., httpx.Client], settings: Settings) -> None:
    application = person(subject=f"service:ak.{uuid4().hex}")
    before = attachments(settings)
    path, body = IMAGES["response"]
    application.post(path, json={**body, "user": "alice"})
    assert attachments(settings) == before + 1
    assert application.delete("/api/v1/end-users", params={"name": "alice"}).status_code == 204
    assert attachments(settings) == before


def test_one_person_cannot_reach_the_image_of_another(
    person: Callable[..., httpx.Client], settings: Settings
) -> None:
    path, body = IMAGES["response"]
    person(subject=f"user:{uuid4()}").post(path, json=body)
    other = person(subject=f"user:{uuid4()}")
    part = {"type": "input_image", "file_id": f"file-{hashlib.sha256(PNG).hexdigest()}"}
    refused = other.post(path, json=response(part)[1])
    assert refused.status_code == 400


def test_the_model_gets_the_newest_that_fit(ann: httpx.Client, settings: Settings) -> None:
    large = f"data:image/gif;base64,{base64.b64encode(b'GIF89a' * 100).decode()}"
    older, newer = ({"type": "input_image", "image_url": one} for one in (large, URL))
    body = {"model": "triage", "input": [{"role": "user", "content": [one]} for one in (older, newer)]}
    with serving(create_app(settings.model_copy(update={"model_attachment_bytes": 100}))) as url:
        answer = text_of(ann.post(f"{url}/v1/responses", json=body))
    assert SEEN in answer
    assert "image/gif" not in answer


def test_refuses_more_links_than_it_looks_up(ann: httpx.Client) -> None:
    path, body = LINKS["response"]
    link = body["input"][0]["content"][1]
    refused = ann.post(path, json={**body, "input": [{"role": "user", "content": [link] * 21}]})
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "input[0].content[20]")


def test_an_earlier_link_that_cannot_be_reached_is_left_out(ann: httpx.Client) -> None:
    source = {"type": "url", "value": "https://nowhere.invalid/cat.png"}
    path, body = ag_ui({"type": "image", "source": source})
    assert ann.post(path, json=body).status_code == 400
    body["messages"].append({"id": "2", "role": "user", "content": "And now?"})
    answer = text_of(ann.post(path, json=body))
    assert "nowhere.invalid" not in answer


WAV = base64.b64encode(b"RIFF0000WAVEfmt ").decode()
AUDIO = {"type": "input_audio", "input_audio": {"data": WAV, "format": "wav"}}
AUDIOS = {
    "completion": completion(AUDIO),
    "response": response(AUDIO),
    "ag_ui": ag_ui({"type": "audio", "source": {"type": "data", "value": WAV, "mimeType": "audio/wav"}}),
}


@pytest.fixture(scope="module", params=["responses", "chat_completions"])
def audio_url(settings: Settings, request: pytest.FixtureRequest) -> Iterator[str]:
    changes = {"model_inputs": {"sandbox-large": frozenset({"audio"})}, "openai_api": request.param}
    with serving(create_app(settings.model_copy(update=changes))) as url:
        yield url


@cases(AUDIOS)
def test_audio_reaches_a_model_that_takes_it(
    ann: httpx.Client, audio_url: str, path: str, body: Json
) -> None:
    assert "audio/wav of 16 bytes" in text_of(ann.post(f"{audio_url}{path}", json=body))


@cases(AUDIOS)
def test_audio_is_refused_where_the_model_does_not_take_it(ann: httpx.Client, path: str, body: Json) -> None:
    answer = ann.post(path, json=body)
    assert answer.status_code == 400
    assert "audio` are not taken here, only text and files and images" in answer.text


def test_audio_of_another_format_is_refused(ann: httpx.Client, audio_url: str) -> None:
    path, body = completion({"type": "input_audio", "input_audio": {"data": WAV, "format": "flac"}})
    answer = ann.post(f"{audio_url}{path}", json=body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_attachment")
    assert "wav or mp3" in answer.json()["error"]["message"]
