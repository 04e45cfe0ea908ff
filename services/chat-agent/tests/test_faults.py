"""What happens when something that the chat-agent needs fails."""

from uuid import uuid4

import httpx
import pytest
from chat_agent.main import create_app
from chat_agent.settings import Settings
from pydantic import SecretStr
from testkit.databases import query
from testkit.issuer import Issuer
from testkit.live_server import NO_AUTHORITIES, serving
from testkit.sse import events

STREAM = "/api/v1/chat/stream"
DYING = {"message": "Hi [sandbox: tokens=60] [sandbox: die-after=20]"}


@pytest.mark.parametrize(
    ("order", "status", "code"),
    [
        ("error=500, retry-after=0.01", 503, "model_unavailable"),
        ("error=429, retry-after=0.01", 503, "model_rate_limited"),
        ("error=400", 502, "model_refused_request"),
        ("loop", 502, "max_turns_exceeded"),
    ],
)
def test_a_failing_model_has_a_name(ann: httpx.Client, order: str, status: int, code: str) -> None:
    whole = ann.post("/api/v1/chat", json={"message": f"Hi [sandbox: {order}]"})
    assert (whole.status_code, whole.json()["code"]) == (status, code)
    with ann.stream("POST", STREAM, json={"message": f"Hi [sandbox: {order}]"}) as answer:
        *_, last = events(answer)
    assert (last.type, last.data["code"]) == ("run.failed", code)
    run = ann.get(f"/api/v1/runs/{last.data['run_id']}").json()
    assert (run["status"], run["error_code"]) == ("failed", code)


def test_the_partial_answer_of_a_failed_model_is_stored_and_counted(
    ann: httpx.Client, other_services
) -> None:
    with ann.stream("POST", STREAM, json=DYING) as answer:
        received = list(events(answer))
    texts = "".join(event.data["delta"] for event in received if event.type == "message.delta")
    last = received[-1]
    assert (last.type, last.data["code"]) == ("run.failed", "model_unavailable")
    assert texts
    assert last.data["output"] == texts
    assert last.data["usage"]["estimated"] is True
    assert last.data["usage"]["output_tokens"] > 0
    assert other_services.messages(last.data["conversation_id"])[-1] == ("assistant", texts)


def test_a_conversation_goes_on_after_a_failure(ann: httpx.Client) -> None:
    with ann.stream("POST", STREAM, json=DYING) as answer:
        *_, last = events(answer)
    again = {"message": "Once more", "conversation_id": last.data["conversation_id"]}
    assert ann.post("/api/v1/chat", json=again).status_code == 200


def test_a_slow_model_has_a_name(settings: Settings, issuer: Issuer) -> None:
    impatient = settings.model_copy(update={"model_first_token_timeout_seconds": 0.3, "model_max_retries": 0})
    with serving(create_app(impatient)) as url:
        answer = ask(url, issuer, "Hi [sandbox: pause-after=0]")
    assert (answer.status_code, answer.json()["code"]) == (504, "model_timed_out")


def test_a_run_may_not_take_for_ever(settings: Settings, issuer: Issuer) -> None:
    impatient = settings.model_copy(update={"run_timeout_seconds": 0.5})
    with serving(create_app(impatient)) as url:
        answer = ask(url, issuer, "Hi [sandbox: pause-after=0]")
    assert (answer.status_code, answer.json()["code"]) == (504, "run_timed_out")


def test_a_model_that_is_not_there_has_a_name(settings: Settings, issuer: Issuer) -> None:
    nowhere = settings.model_copy(update={"openai_base_url": "http://127.0.0.1:1/v1", "model_max_retries": 0})
    with serving(create_app(nowhere)) as url:
        answer = ask(url, issuer, "Hi")
    assert (answer.status_code, answer.json()["code"]) == (503, "model_unavailable")


def test_without_the_conversation_service_nothing_is_half_done(
    ann: httpx.Client, other_services, settings: Settings
) -> None:
    other_services.down = True
    answer = ann.post("/api/v1/chat", json={"message": "Hi"})
    assert (answer.status_code, answer.json()["code"]) == (503, "conversation_unavailable")
    assert answer.headers["retry-after"]
    (run,) = query(settings.database_url.get_secret_value(), "select status, error_code from runs")
    assert tuple(run) == ("failed", "conversation_unavailable")
    assert other_services.items == {}
    other_services.down = False
    assert ann.post("/api/v1/chat", json={"message": "Hi"}).status_code == 200


@pytest.mark.parametrize("most_items", [0, 1])
def test_a_full_conversation_ends_a_run_by_name(
    ann: httpx.Client, other_services, settings: Settings, most_items: int
) -> None:
    """Be it full when the run begins, or when it has said something; and waiting would not help."""
    other_services.max_items = most_items
    answer = ann.post("/api/v1/chat", json={"message": "Hi"})
    assert (answer.status_code, answer.json()["code"]) == (409, "conversation_limit_reached")
    assert "Begin a new conversation." in answer.json()["detail"]
    assert "retry-after" not in answer.headers
    streamed = ann.post("/api/v1/chat/stream", json={"message": "Hi"}).text
    assert '"conversation_limit_reached"' in streamed.rpartition("event: run.failed")[2]
    rows = query(settings.database_url.get_secret_value(), "select status, error_code from runs")
    assert {tuple(row) for row in rows} == {("failed", "conversation_limit_reached")}
    assert [len(items) for items in other_services.items.values()] == [most_items] * 2


def test_without_redis_nobody_is_let_in(settings: Settings, issuer: Issuer) -> None:
    lost = settings.model_copy(update={"redis_url": SecretStr("redis://127.0.0.1:1")})
    with serving(create_app(lost)) as url:
        answer = ask(url, issuer, "Hi")
    assert (answer.status_code, answer.json()["code"]) == (503, "limits_unavailable")


def test_without_postgres_nobody_is_let_in(settings: Settings, issuer: Issuer) -> None:
    nowhere = SecretStr("postgresql://acme:x@127.0.0.1:1/none")
    with serving(create_app(settings.model_copy(update={"database_url": nowhere}))) as url:
        answer = ask(url, issuer, "Hi")
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")


def ask(url: str, issuer: Issuer, message: str) -> httpx.Response:
    token = issuer.token(tenant_id=uuid4(), role="member")
    headers = {"Authorization": f"Bearer {token}"}
    return httpx.post(
        f"{url}/api/v1/chat", json={"message": message}, headers=headers, timeout=60, verify=NO_AUTHORITIES
    )
