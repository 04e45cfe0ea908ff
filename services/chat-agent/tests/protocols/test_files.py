"""Files that OpenAI's client uploads: stored for their owner, and read by models where messages name them."""

import asyncio
import base64
import json
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import httpx
import openai
import pytest
from chat_agent.main import create_app
from chat_agent.settings import IMAGES_AND_FILES, Settings
from chat_agent.worker import retention_rules
from openai import OpenAI
from servicekit.database import Database
from servicekit.retention import RetentionWorker
from testkit.databases import query
from testkit.live_server import NO_AUTHORITIES, serving

from ..conftest import TENANT

PDF = b"%PDF-1.7"
PNG = b"\x89PNG of no pixels"
FILES = "/v1/files"
UPLOAD = {"file": ("a.pdf", PDF, "application/pdf")}
MIB = 1024 * 1024
OpenAIOf = Callable[..., OpenAI]


@pytest.fixture(scope="module")
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"model_inputs": {"sandbox-large": IMAGES_AND_FILES}})


@pytest.fixture
def client(openai_of: OpenAIOf, person: Callable[..., httpx.Client]) -> OpenAI:
    return openai_of(person(subject=f"user:{uuid4()}"))


def upload(client: OpenAI, content: bytes = PDF, name: str = "a.pdf", **more: Any) -> Any:
    return client.files.create(file=(name, content), purpose="user_data", **more)


def read(client: OpenAI, *parts: dict[str, Any], **more: Any) -> str:
    content: Any = [{"type": "input_text", "text": "What is this?"}, *parts]
    response = client.responses.create(model="triage", input=[{"role": "user", "content": content}], **more)
    return str(response.output_text)


def read_file(client: OpenAI, file_id: str, **more: Any) -> str:
    return read(client, {"type": "input_file", "file_id": file_id}, **more)


def stored(settings: Settings, table: str = "files") -> int:
    (row,) = query(settings.database_url.get_secret_value(), f"select count(*) from {table}")  # noqa: S608
    return int(row[0])


class TestFiles:
    @pytest.mark.parametrize("purpose", ["assistants", "batch", "user_data", "vision"])
    def test_is_stored_listed_read_and_deleted(self, client: OpenAI, purpose: Any) -> None:
        file = client.files.create(file=("a.pdf", PDF), purpose=purpose)
        assert (file.object, file.bytes, file.filename, file.purpose) == ("file", len(PDF), "a.pdf", purpose)
        assert file.status == "processed"
        assert file.id.startswith("file-")
        assert client.files.retrieve(file.id) == file
        assert client.files.list().data == [file]
        assert client.files.content(file.id).read() == PDF
        deleted = client.files.delete(file.id)
        assert (deleted.id, deleted.object, deleted.deleted) == (file.id, "file", True)
        assert client.files.list().data == []
        for call in (client.files.retrieve, client.files.content, client.files.delete):
            with pytest.raises(openai.NotFoundError, match=f"No such File object: {file.id}") as error:
                call(file.id)
            assert (error.value.code, error.value.param) == ("file_not_found", "id")

    def test_pages_are_in_the_order_of_upload(self, client: OpenAI) -> None:
        names = [upload(client, name=f"{number}.txt").filename for number in range(5)]
        other = client.files.create(file=("b.txt", b"b"), purpose="batch")
        assert [file.filename for file in client.files.list(limit=2)] == ["b.txt", *reversed(names)]
        first = client.files.list(limit=2, order="asc", purpose="user_data")
        assert ([file.filename for file in first.data], first.has_more) == (names[:2], True)
        assert [file.filename for file in first] == names
        with pytest.raises(openai.NotFoundError):
            client.files.list(after=f"file-{uuid4().hex}")
        assert [file.id for file in client.files.list(purpose="batch")] == [other.id]

    def test_content_is_no_page(self, client: OpenAI) -> None:
        file = upload(client, b"<script>alert(1)</script>", "a.html")
        headers = client.files.content(file.id).response.headers
        assert headers["content-type"] == "application/octet-stream"
        assert headers["content-disposition"] == "attachment"

    def test_says_what_is_wrong_with_a_form(self, client: OpenAI, ann: httpx.Client) -> None:
        for values, param in (
            ({"data": {"purpose": "user_data"}}, "file"),
            ({"files": UPLOAD}, "purpose"),
            ({"files": UPLOAD, "data": {"purpose": "fine-tune"}}, "purpose"),
            ({"files": {"file": ("a", b"")}, "data": {"purpose": "batch"}}, "file"),
            ({"files": {"file": ("a" * 300, b"a")}, "data": {"purpose": "batch"}}, "file"),
            (
                {"files": UPLOAD, "data": {"purpose": "batch", "expires_after[seconds]": "1"}},
                "expires_after[seconds]",
            ),
        ):
            answer = ann.post(FILES, **values)
            assert (answer.status_code, answer.json()["error"]["param"]) == (400, param), answer.text

    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"--b",
            b"--b\r\n\r\n--b--",
            b"--b\r\nContent-Disposition: form-data\r\n\r\na\r\n--b--",
            b'--b\r\nContent-Disposition: form-data; name="file"; filename="a\0"\r\n\r\na\r\n--b--',
            b'--b\r\nContent-Disposition: form-data; name="file"; filename="\xff\0"\r\n\r\na\r\n--b--',
        ],
    )
    def test_refuses_what_is_no_form(self, ann: httpx.Client, body: bytes) -> None:
        for media_type in ("multipart/form-data; boundary=b", "multipart/form-data", "application/json"):
            answer = ann.post(FILES, content=body, headers={"Content-Type": media_type})
            assert answer.status_code == 400, answer.text
            assert answer.json()["error"]["type"] == "invalid_request_error"

    def test_takes_one_file(self, ann: httpx.Client) -> None:
        two = [("file", ("a", b"a")), ("file", ("b", b"b"))]
        assert ann.post(FILES, files=two, data={"purpose": "batch"}).status_code == 400

    def test_expires(self, client: OpenAI, settings: Settings) -> None:
        file = upload(client)
        assert file.expires_at == file.created_at + settings.run_retention_days * 86_400
        soon = upload(client, expires_after={"anchor": "created_at", "seconds": 3600})
        assert 3599 <= soon.expires_at - soon.created_at <= 3601
        url = settings.database_url.get_secret_value()
        query(url, "update files set expires_at = now() - interval '1 second'")
        assert client.files.list().data == []
        with pytest.raises(openai.NotFoundError):
            client.files.content(file.id)
        with pytest.raises(openai.BadRequestError, match=file.id):
            read_file(client, file.id)
        retain(settings)
        assert stored(settings) == 0


def retain(settings: Settings) -> None:
    async def step() -> None:
        database = Database(settings.database_url, name="test")
        await RetentionWorker(database, rules=retention_rules(settings)).step()
        await database.close()

    asyncio.run(step())


class TestMessages:
    def test_a_response_reads_a_file(self, client: OpenAI) -> None:
        file = upload(client)
        assert f"application/pdf of {len(PDF)} bytes" in read_file(client, file.id)

    def test_a_response_reads_an_image(self, client: OpenAI) -> None:
        image = client.files.create(file=("a.png", PNG), purpose="vision")
        part = {"type": "input_image", "file_id": image.id, "detail": "low"}
        assert f"image/png of {len(PNG)} bytes" in read(client, part)

    @pytest.mark.parametrize("stream", [False, True])
    def test_a_completion_reads_a_file(self, client: OpenAI, stream: bool) -> None:
        file = upload(client)
        part: Any = {"type": "file", "file": {"file_id": file.id}}
        message: Any = {"role": "user", "content": [{"type": "text", "text": "What is this?"}, part]}
        if stream:
            with client.chat.completions.stream(model="triage", messages=[message]) as events:
                completion: Any = events.get_final_completion()
        else:
            completion = client.chat.completions.create(model="triage", messages=[message])
        assert f"application/pdf of {len(PDF)} bytes" in completion.choices[0].message.content

    def test_a_conversation_has_a_copy_once(self, client: OpenAI, settings: Settings) -> None:
        file, same = upload(client), upload(client, name="b.pdf")
        parts = [{"type": "input_file", "file_id": one.id} for one in (file, same, file)]
        content: Any = [{"role": "user", "content": parts}]
        first = client.responses.create(model="triage", input=content)
        before = stored(settings, "attachments")
        client.responses.create(model="triage", input=content, previous_response_id=first.id)
        assert stored(settings, "attachments") == before
        items = client.responses.input_items.list(first.id, order="asc").data
        assert [part.filename for part in items[0].content] == ["a.pdf", "b.pdf", "a.pdf"]  # type: ignore[union-attr]
        client.files.delete(file.id)
        client.files.delete(same.id)
        more = client.responses.create(model="triage", input="And now?", previous_response_id=first.id)
        assert f"application/pdf of {len(PDF)} bytes" in more.output_text

    def test_earlier_messages_name_files_too(self, client: OpenAI) -> None:
        file = upload(client)
        messages: Any = [
            {"role": "user", "content": [{"type": "file", "file": {"file_id": file.id}}]},
            {"role": "assistant", "content": "A file."},
            {"role": "user", "content": "Which?"},
        ]
        completion: Any = client.chat.completions.create(model="triage", messages=messages)
        assert f"application/pdf of {len(PDF)} bytes" in completion.choices[0].message.content

    @pytest.mark.parametrize("name", [f"file-{'1' * 32}", "file-abc123", f"file-{'0' * 64}", "", "\ud83d"])
    def test_an_unknown_file_is_named(self, client: OpenAI, name: str) -> None:
        text: Any = {"type": "input_text", "text": "What is this?"}
        content = [text, {"type": "input_file", "file_id": name}]
        body = json.dumps({"model": "triage", "input": [{"role": "user", "content": content}]})
        answer = httpx.post(
            f"{client.base_url}responses",
            content=body,
            headers={"Authorization": f"Bearer {client.api_key}", "Content-Type": "application/json"},
            timeout=60,
            verify=NO_AUTHORITIES,
        )
        error = answer.json()["error"]
        assert answer.status_code == 400
        assert error["param"].startswith("input[0].content[1]")
        if name.startswith("file-"):
            assert error["message"] == f"No such File object: {name}"

    def test_a_file_that_is_no_image_is_refused(self, client: OpenAI) -> None:
        file = upload(client)
        with pytest.raises(openai.BadRequestError, match="application/pdf"):
            read(client, {"type": "input_image", "file_id": file.id})

    def test_content_and_id_together_are_refused(self, client: OpenAI) -> None:
        file = upload(client)
        url = f"data:application/pdf;base64,{base64.b64encode(PDF).decode()}"
        with pytest.raises(openai.BadRequestError, match="not both"):
            read(client, {"type": "input_file", "file_id": file.id, "file_data": url})

    def test_all_files_of_a_request_have_a_limit(self, client: OpenAI, settings: Settings) -> None:
        half = settings.max_message_body_bytes // 2
        parts = [
            {"type": "input_file", "file_id": upload(client, bytes([number]) * half).id}
            for number in range(3)
        ]
        with pytest.raises(openai.BadRequestError, match="at most"):
            read(client, *parts)


class TestOwners:
    def test_a_file_of_another_person_is_not_found(
        self, client: OpenAI, openai_of: OpenAIOf, person: Callable[..., httpx.Client]
    ) -> None:
        file = upload(client)
        for other in (person(subject=f"user:{uuid4()}"), person(tenant_id=uuid4())):
            refuse(openai_of(other), file.id)
        assert client.files.retrieve(file.id).id == file.id

    def test_a_file_of_another_end_user_is_not_found(
        self, openai_of: OpenAIOf, person: Callable[..., httpx.Client]
    ) -> None:
        key = person(subject=f"service:ak.{uuid4().hex}")
        file = upload(openai_of(key, "alice"))
        for other in ("bob", None):
            refuse(openai_of(key, other), file.id)
        assert "application/pdf" in read_file(openai_of(key, "alice"), file.id)
        assert "application/pdf" in read_file(openai_of(key), file.id, safety_identifier="alice")
        with pytest.raises(openai.BadRequestError, match=file.id):
            read_file(openai_of(key), file.id, safety_identifier="bob")

    def test_a_file_of_the_application_is_for_messages_of_its_end_users(
        self, openai_of: OpenAIOf, person: Callable[..., httpx.Client]
    ) -> None:
        key = person(subject=f"service:ak.{uuid4().hex}")
        file = upload(openai_of(key))
        assert "application/pdf" in read_file(openai_of(key), file.id, user="alice")
        with pytest.raises(openai.NotFoundError):
            openai_of(key, "alice").files.content(file.id)
        refuse(openai_of(person(subject=f"service:ak.{uuid4().hex}")), file.id)

    def test_an_end_users_files_are_exported_and_erased(
        self, openai_of: OpenAIOf, person: Callable[..., httpx.Client], settings: Settings
    ) -> None:
        key = person(subject=f"service:ak.{uuid4().hex}")
        alice, bob = openai_of(key, "alice"), openai_of(key, "bob")
        upload(alice), upload(alice, b"2"), upload(bob)
        lines = key.get("/api/v1/end-users", params={"name": "alice"}).content.splitlines()
        exported = [one for one in map(json.loads, lines) if one["type"] == "file"]
        assert {base64.b64decode(one["data"]) for one in exported} == {PDF, b"2"}
        assert {one["filename"] for one in exported} == {"a.pdf"}
        assert key.delete("/api/v1/end-users", params={"name": "alice"}).status_code == 204
        assert alice.files.list().data == []
        assert len(bob.files.list().data) == 1


def refuse(client: OpenAI, file_id: str) -> None:
    """Verify that a file does not exist for a client."""
    assert client.files.list().data == []
    for call in (client.files.retrieve, client.files.content, client.files.delete):
        with pytest.raises(openai.NotFoundError):
            call(file_id)
    for part in ({"type": "input_file"}, {"type": "input_image"}):
        with pytest.raises(openai.BadRequestError, match="No such File object"):
            read(client, {**part, "file_id": file_id})


class TestLimits:
    @pytest.fixture
    def small(self, settings: Settings, issuer: Any, openai_of: OpenAIOf) -> Iterator[OpenAI]:
        limits = {"max_message_body_bytes": 2 * MIB, "max_file_storage_bytes": 3 * MIB}
        limited = settings.model_copy(update={**limits, "run_workers": False})
        headers = {"Authorization": f"Bearer {issuer.token(tenant_id=uuid4())}"}
        with (
            serving(create_app(limited)) as url,
            httpx.Client(base_url=url, headers=headers) as client,
        ):
            yield openai_of(client)

    def test_a_file_may_be_as_large_as_a_body(self, small: OpenAI) -> None:
        content = bytes(range(256)) * (MIB // 128 - 4)
        assert small.files.content(upload(small, content).id).read() == content
        with pytest.raises(openai.APIStatusError) as error:
            upload(small, b"a" * 2 * MIB)
        assert (error.value.status_code, error.value.code) == (413, "payload_too_large")

    def test_all_files_of_a_tenant_have_a_limit(self, small: OpenAI) -> None:
        first = upload(small, b"a" * (MIB + MIB // 2))
        upload(small, b"a" * MIB)
        with pytest.raises(openai.ConflictError) as error:
            upload(small, b"a" * MIB)
        assert error.value.code == "file_limit_reached"
        assert error.value.response.headers["x-should-retry"] == "false"
        small.files.delete(first.id)
        assert upload(small, b"a" * MIB).bytes == MIB

    def test_a_tenant_has_a_limit_of_files(
        self, client: OpenAI, settings: Settings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (row,) = query(
            settings.database_url.get_secret_value(),
            f"select count(*) from files where tenant_id = '{TENANT}'",  # noqa: S608
        )
        monkeypatch.setattr("chat_agent.attachments.files.MAX_FILES_PER_TENANT", row[0] + 1)
        upload(client)
        with pytest.raises(openai.ConflictError, match="Delete some"):
            upload(client)
