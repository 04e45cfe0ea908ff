"""Reports about agents, from real runs: usage, failures, cost and feedback, by version."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import httpx
import pytest
from chat_agent.agent_reports import faults, status
from chat_agent.agent_reports.faults import fault_of
from chat_agent.direct_models import DirectModel
from chat_agent.model.failures import BY_CODE
from chat_agent.settings import Settings
from testkit.databases import query

from .client_helpers import CHAT, RUNS, error_of, start_run, wait_until_finished
from .test_agent_definitions import AGENTS, publish, published, save

Person = Callable[..., httpx.Client]
REVIEW = "Can you review this Python function? def add(a, b): return a - b"


@pytest.fixture(scope="module")
def settings(settings: Settings) -> Settings:
    models = {"openai/sandbox-small": DirectModel(tenants=frozenset({"*"}))}
    return settings.model_copy(update={"direct_models": models, "model_max_attempts": 1})


def chat(client: httpx.Client, agent: str, message: str = "Hello") -> dict[str, Any]:
    response = client.post(CHAT, json={"message": message, "agent_type": agent})
    assert response.status_code == 200, response.text
    return response.json()


def fail(client: httpx.Client, agent: str, message: str) -> str:
    run = wait_until_finished(client, start_run(client, message, agent_type=agent))
    assert run["status"] == "failed"
    return run["error_code"]


def report(client: httpx.Client, agent: str = "support", **period: Any) -> dict[str, Any]:
    response = client.get(f"{AGENTS}/{agent}/status", params=period)
    assert response.status_code == 200, response.text
    return response.json()


def test_a_status_counts_the_runs_of_each_version(admin: httpx.Client, member: httpx.Client) -> None:
    first = published(admin, "support", model="openai/sandbox-small", instructions="One.")
    answers = [chat(member, "support"), chat(admin, "support")]
    code = fail(member, "support", "Hello [sandbox: error=401]")
    second = published(admin, "support", model="openai/sandbox-small", instructions="Two.")
    answers.append(chat(member, "support"))
    page = report(admin)
    newer, older = page["versions"]
    assert [(one["version"], one["digest"]) for one in (newer, older)] == [
        (2, second["stable"]["digest"]),
        (1, first["stable"]["digest"]),
    ]
    assert (older["runs"], older["completed"], older["failed"]) == (3, 2, 1)
    assert older["failures"] == {"provider": 1}
    assert older["error_codes"] == {code: 1}
    assert (newer["runs"], newer["failed"], newer["failures"]) == (1, 0, {})
    total = page["total"]
    assert (total["runs"], total["completed"], total["conversations"]) == (4, 3, 4)
    assert total["failures"] == {"provider": 1}
    for kind in ("input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens"):
        assert total[kind] == sum(one["usage"][kind] for one in answers) == newer[kind] + older[kind]
    assert 0 <= total["duration_p50_ms"] <= total["duration_p95_ms"]
    assert total["last_used"] == newer["last_used"] > older["last_used"]
    assert page["last_used"] == total["last_used"]
    assert page["complete"]


def test_a_cost_that_is_not_known_is_null_and_counted(admin: httpx.Client, settings: Settings) -> None:
    published(admin, "support", model="openai/sandbox-small")
    assert report(admin)["total"]["cost"] == 0
    runs = [chat(admin, "support")["run_id"] for _ in range(3)]
    set_columns(settings, runs, "cost = null")
    total = report(admin)["total"]
    assert (total["cost"], total["unpriced_runs"]) == (None, 3)
    set_columns(settings, runs[:2], "cost = 1234567")
    (version,) = report(admin)["versions"]
    assert (version["cost"], version["unpriced_runs"]) == (2_469_134, 1)


def set_columns(settings: Settings, runs: list[str], values: str) -> None:
    query(
        settings.database_url.get_secret_value(),
        f"update runs set {values} where id = any($1::uuid[]) returning id",  # noqa: S608
        runs,
    )


def test_a_run_counts_for_the_agent_that_it_was_handed_to(admin: httpx.Client) -> None:
    chat(admin, "triage", REVIEW)
    began, received = report(admin, "triage"), report(admin, "code_assistant")
    assert (began["total"]["runs"], began["total"]["handed_over"]) == (1, 0)
    assert (received["total"]["runs"], received["total"]["handed_over"]) == (1, 1)
    (version,) = received["versions"]
    assert version["version"] is None
    assert version["digest"].startswith("sha256:")


def test_an_agent_without_a_published_version_is_a_draft(admin: httpx.Client) -> None:
    save(admin, "support")
    assert report(admin)["status"] == "draft"
    publish(admin, "support")
    assert report(admin)["status"] == "active"
    assert report(admin, "triage")["status"] == "active"


def test_a_status_is_of_its_period(admin: httpx.Client, settings: Settings) -> None:
    runs = [chat(admin, "triage")["run_id"] for _ in range(2)]
    set_columns(settings, runs[:1], "created_at = created_at - interval '40 days'")
    assert report(admin, "triage")["total"]["runs"] == 1
    long_ago = (datetime.now(UTC) - timedelta(days=50)).isoformat()
    yesterday = (datetime.now(UTC) - timedelta(days=1)).isoformat()
    assert report(admin, "triage", since=long_ago)["total"]["runs"] == 2
    before = report(admin, "triage", since=long_ago, until=yesterday)
    assert before["total"]["runs"] == 1
    assert before["last_used"] > before["total"]["last_used"]


def test_a_report_of_too_many_runs_says_from_when_it_counts(
    admin: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(3):
        chat(admin, "triage")
    monkeypatch.setattr(status, "MAX_RUNS", 2)
    page = report(admin, "triage")
    assert (page["total"]["runs"], page["complete"]) == (2, False)
    assert page["since"] > (datetime.now(UTC) - timedelta(days=1)).isoformat()


def test_a_tenant_sees_its_own_runs_and_members_no_cost(
    person: Person, admin: httpx.Client, member: httpx.Client
) -> None:
    chat(admin, "triage")
    seen = report(member, "triage")
    assert (seen["total_conversations"], seen["total"], seen["versions"]) == (1, None, None)
    stranger = report(person(uuid4(), role="owner"), "triage")
    assert (stranger["total"]["runs"], stranger["versions"], stranger["last_used"]) == (0, [], None)
    published(admin, "support")
    assert error_of(person(uuid4(), role="owner").get(f"{AGENTS}/support/status")) == (404, "agent_not_found")


def test_a_report_reads_its_runs_by_an_index(admin: httpx.Client, settings: Settings) -> None:
    chat(admin, "triage")
    rows = status.RUNS.format(columns="created_at")
    values = {
        ":tenant": f"'{uuid4()}'::uuid",
        ":agent": "'triage'",
        ":since": "now()",
        ":until": "now()",
        ":most": "9",
    }
    for name, value in values.items():
        rows = rows.replace(name, value)
    url = (
        settings.database_url.get_secret_value() + "?enable_seqscan=off&enable_bitmapscan=off&enable_sort=off"
    )
    plan = " ".join(row[0] for row in query(url, f"explain {rows}"))
    assert "ix_runs_agent" in plan
    assert "ix_runs_final_agent" in plan
    assert "Sort" not in plan


def test_every_failure_has_a_fault() -> None:
    assert {fault_of(code) for code in BY_CODE} == set(faults.FAULTS)
    assert fault_of("quota_exceeded") == "limit"
    assert fault_of("internal_error") == fault_of("worker_lost") == fault_of("unheard_of") == "service"
    assert fault_of("membership_ended") == fault_of("approval_expired") == "caller"


def say(client: httpx.Client, run_id: str, **feedback: Any) -> None:
    response = client.put(f"{RUNS}/{run_id}/feedback", json=feedback)
    assert response.status_code == 200, response.text


def test_feedback_is_counted_by_version(person: Person, admin: httpx.Client, member: httpx.Client) -> None:
    published(admin, "support", model="openai/sandbox-small", instructions="One.")
    first, second = [chat(member, "support")["run_id"] for _ in range(2)]
    say(member, first, rating="down", reasons=["incorrect", "too_long"], correction="It is 4.")
    say(member, second, rating="down", reasons=["incorrect"], comment="No.")
    published(admin, "support", model="openai/sandbox-small", instructions="Two.")
    third = chat(admin, "support")["run_id"]
    say(admin, third, rating="up")
    path = f"{AGENTS}/support/feedback"
    page = admin.get(path, params={"limit": 1}).json()
    assert page["total"] == {
        "up": 1,
        "down": 2,
        "comments": 1,
        "corrections": 1,
        "reasons": {"incorrect": 2, "too_long": 1},
    }
    newer, older = page["versions"]
    assert (newer["version"], newer["up"], newer["down"], newer["reasons"]) == (2, 1, 0, {})
    assert (older["version"], older["up"], older["down"]) == (1, 0, 2)
    (entry,) = page["items"]
    assert (entry["run_id"], entry["version"], entry["comment"]) == (second, 1, "No.")
    rest = admin.get(path, params={"limit": 1, "cursor": page["next_cursor"]}).json()
    assert [one["run_id"] for one in rest["items"]] == [first]
    assert rest["next_cursor"] is None
    assert admin.get(path, params={"rating": "up"}).json()["total"]["down"] == 0
    assert error_of(member.get(path))[0] == 403
    assert error_of(person(uuid4(), role="owner").get(path)) == (404, "agent_not_found")


def test_only_a_corrected_answer_is_read_with_its_question(
    person: Person, admin: httpx.Client, member: httpx.Client
) -> None:
    answer = chat(member, "triage", "What is 2 + 2?")
    path = f"{AGENTS}/triage/feedback/{answer['run_id']}"
    assert error_of(admin.get(path)) == (404, "feedback_not_found")
    say(member, answer["run_id"], rating="down", comment="No.")
    assert error_of(admin.get(path)) == (409, "correction_missing")
    say(member, answer["run_id"], rating="down", correction="It is 4.")
    page = admin.get(path).json()
    assert (page["message"], page["output"]) == ("What is 2 + 2?", answer["response"])
    assert (page["agent"], page["earlier_messages"]) == ("triage", 0)
    assert page["feedback"]["correction"] == "It is 4."
    assert error_of(member.get(path))[0] == 403
    assert error_of(person(uuid4(), role="owner").get(path)) == (404, "feedback_not_found")
