from pathlib import Path
from typing import Any

import httpx
import pytest
import resend
from resend.exceptions import MissingRequiredFieldsError, RateLimitError, ResendError, ValidationError
from sandbox.mail import create_mail

HELLO: Any = {
    "from": "Acme <hello@acme.test>",
    "to": "ada@example.com",
    "subject": "Hello",
    "text": "Welcome.",
}


@pytest.fixture
def sdk(sandbox_url: str, mail: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """The official client, pointed at the sandbox."""
    monkeypatch.setattr(resend, "api_url", f"{sandbox_url}/resend")
    monkeypatch.setattr(resend, "api_key", "re_sandbox")
    monkeypatch.setattr(resend, "default_async_http_client", resend.HTTPXClient())


async def test_the_official_client_sends_and_retrieves(sdk: None, mail: httpx.AsyncClient) -> None:
    sent = resend.Emails.send(
        HELLO | {"html": "<p>Welcome.</p>", "tags": [{"name": "kind", "value": "welcome"}]}
    )
    email = resend.Emails.get(sent["id"])
    assert email["subject"] == "Hello"
    assert email["last_event"] == "delivered"
    (stored,) = (await mail.get("/inbox", params={"to": "Ada@example.com"})).json()
    assert (stored["id"], stored["html"], stored["attempts"]) == (sent["id"], "<p>Welcome.</p>", 1)


async def test_the_official_async_client_sends(sdk: None, mail: httpx.AsyncClient) -> None:
    sent = await resend.Emails.send_async(HELLO, {"idempotency_key": "k1"})
    assert (await mail.get(f"/inbox/{sent['id']}")).json()["idempotency_key"] == "k1"


async def test_a_repeated_key_sends_once(sdk: None, mail: httpx.AsyncClient) -> None:
    ids = {resend.Emails.send(HELLO, {"idempotency_key": "welcome/1"})["id"] for _ in range(3)}
    (stored,) = (await mail.get("/inbox")).json()
    assert ids == {stored["id"]}
    assert stored["attempts"] == 3


async def test_a_key_with_another_body_is_refused(sdk: None) -> None:
    resend.Emails.send(HELLO, {"idempotency_key": "welcome/1"})
    with pytest.raises(ResendError) as caught:
        resend.Emails.send(HELLO | {"subject": "Other"}, {"idempotency_key": "welcome/1"})
    assert (caught.value.code, caught.value.error_type) == (409, "invalid_idempotent_request")


async def test_without_a_key_every_request_sends(mail: httpx.AsyncClient) -> None:
    for _ in range(2):
        (await mail.post("/emails", json=HELLO)).raise_for_status()
    assert len((await mail.get("/inbox")).json()) == 2


async def test_a_key_is_forgotten_after_a_day(tmp_path: Path) -> None:
    hours = [0.0]
    app = create_mail(clock=lambda: hours[0] * 3600)
    headers = {"Authorization": "Bearer re_1", "Idempotency-Key": "k"}
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://test", headers=headers
    ) as mail:
        first = (await mail.post("/emails", json=HELLO)).json()
        hours[0] = 23.9
        assert (await mail.post("/emails", json=HELLO)).json() == first
        hours[0] = 24.1
        assert (await mail.post("/emails", json=HELLO)).json() != first


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({"subject": None}, MissingRequiredFieldsError),
        ({"text": None}, MissingRequiredFieldsError),
        ({"to": "nobody"}, ValidationError),
        ({"to": ["ada@example.com"] * 51}, ValidationError),
        ({"from": "Acme <hello@>"}, ValidationError),
    ],
)
async def test_an_invalid_mail_is_refused(sdk: None, change: Any, kind: type[ResendError]) -> None:
    body: Any = {name: value for name, value in (HELLO | change).items() if value is not None}
    with pytest.raises(kind) as caught:
        resend.Emails.send(body)
    assert caught.value.code == 422


@pytest.mark.parametrize(
    ("headers", "status", "name"),
    [
        ({"Authorization": ""}, 401, "missing_api_key"),
        ({"Authorization": "Bearer re_invalid_1"}, 403, "invalid_api_key"),
        ({"Idempotency-Key": "k" * 257}, 400, "invalid_idempotency_key"),
    ],
)
async def test_errors_have_the_shape_of_the_api(
    mail: httpx.AsyncClient, headers: dict[str, str], status: int, name: str
) -> None:
    answer = await mail.post("/emails", json=HELLO, headers=headers)
    assert answer.status_code == status
    body = answer.json()
    assert (body["statusCode"], body["name"]) == (status, name)
    assert body["message"]


async def test_unknown_mails_and_bodies_that_are_not_json_are_refused(mail: httpx.AsyncClient) -> None:
    assert (await mail.get("/emails/unknown")).json()["name"] == "not_found"
    assert (await mail.get("/inbox/unknown")).status_code == 404
    assert (await mail.post("/emails", content="{")).json()["name"] == "validation_error"
    assert (await mail.put("/emails")).json()["name"] == "method_not_allowed"


async def test_a_batch_is_sent_whole_or_not_at_all(sdk: None, mail: httpx.AsyncClient) -> None:
    sent = resend.Batch.send([HELLO, HELLO | {"to": ["bob@example.com"]}], {"idempotency_key": "b1"})
    assert [mail["id"] for mail in sent["data"]] == [
        stored["id"] for stored in (await mail.get("/inbox")).json()
    ]
    with pytest.raises(ValidationError):
        resend.Batch.send([HELLO, HELLO | {"to": "nobody"}])
    assert len((await mail.get("/inbox")).json()) == 2


async def test_a_permissive_batch_names_what_it_leaves_out(sdk: None) -> None:
    sent = resend.Batch.send([HELLO | {"to": "nobody"}, HELLO], {"batch_validation": "permissive"})
    assert len(sent["data"]) == 1
    assert [error["index"] for error in sent["errors"]] == [0]


async def test_faults_come_as_often_as_ordered(sdk: None, mail: httpx.AsyncClient) -> None:
    await mail.post("/_sandbox/faults", json={"status": 500, "count": 2})
    for _ in range(2):
        with pytest.raises(ResendError):
            resend.Emails.send(HELLO, {"idempotency_key": "k"})
    resend.Emails.send(HELLO, {"idempotency_key": "k"})
    attempts = (await mail.get("/_sandbox/attempts", params={"key": "k"})).json()
    assert [attempt["status"] for attempt in attempts] == [500, 500, 200]
    (stored,) = (await mail.get("/inbox")).json()
    assert stored["attempts"] == 3


async def test_a_limit_says_when_to_come_back(sdk: None, mail: httpx.AsyncClient) -> None:
    await mail.post("/_sandbox/faults", json={"status": 429, "retry_after": 3})
    with pytest.raises(RateLimitError) as caught:
        resend.Emails.send(HELLO)
    assert caught.value.headers["retry-after"] == "3"


async def test_a_lost_answer_does_not_send_twice(sdk: None, mail: httpx.AsyncClient) -> None:
    await mail.post("/_sandbox/faults", json={"status": 503, "accepted": True})
    with pytest.raises(ResendError):
        resend.Emails.send(HELLO, {"idempotency_key": "k"})
    sent = resend.Emails.send(HELLO, {"idempotency_key": "k"})
    assert [stored["id"] for stored in (await mail.get("/inbox")).json()] == [sent["id"]]


async def test_faults_can_be_called_off(mail: httpx.AsyncClient) -> None:
    await mail.post("/_sandbox/faults", json={"status": 500, "count": 9})
    await mail.delete("/_sandbox/faults")
    assert (await mail.post("/emails", json=HELLO)).status_code == 200


async def test_the_inbox_is_emptied(mail: httpx.AsyncClient) -> None:
    await mail.post("/emails", json=HELLO)
    assert (await mail.delete("/inbox")).status_code == 204
    assert (await mail.get("/inbox")).json() == []


async def test_resends_test_addresses_bounce(mail: httpx.AsyncClient) -> None:
    sent = (await mail.post("/emails", json=HELLO | {"to": ["bounced@resend.dev"]})).json()
    assert (await mail.get(f"/emails/{sent['id']}")).json()["last_event"] == "bounced"


async def test_the_page_shows_mails_and_runs_nothing_of_them(mail: httpx.AsyncClient) -> None:
    body = HELLO | {
        "subject": "<script>alert(1)</script>",
        "html": '<a href="https://acme.test/v?t=1">Verify</a>"',
    }
    await mail.post("/emails", json=body)
    page = await mail.get("/")
    assert "<script>" not in page.text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page.text
    assert "&lt;a href=&#34;https://acme.test/v?t=1&#34;&gt;Verify&lt;/a&gt;&#34;" in page.text
    assert page.headers["Content-Security-Policy"].startswith("default-src 'none'")


async def test_mails_in_a_folder_outlive_the_process(tmp_path: Path) -> None:
    headers = {"Authorization": "Bearer re_1", "Idempotency-Key": "k"}
    odd = {**HELLO, "text": "a\u2028b\u2029c\x85d\x0be\x0cf\x1cg\x1dh\x1ei"}
    for _ in range(2):
        transport = httpx.ASGITransport(create_mail(tmp_path / "data"))
        async with httpx.AsyncClient(transport=transport, base_url="http://test", headers=headers) as mail:
            stored = (await mail.get("/inbox")).json() or (await mail.post("/emails", json=odd)).json()
    assert (stored[0]["to"], stored[0]["text"]) == (["ada@example.com"], odd["text"])
