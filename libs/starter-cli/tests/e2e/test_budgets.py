"""A budget through the gateway: what is reserved, refused, recorded and streamed by the real services."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx

from .conftest import Person, until
from .test_chat import REVIEW

WAYS_IN: list[Callable[[Person], httpx.Response]] = [
    lambda person: person.http.post("/api/v1/chat", json={"message": "Hello"}),
    lambda person: person.http.post("/api/v1/chat/stream", json={"message": "Hello"}),
    lambda person: person.http.post("/api/v1/runs", json={"message": "Hello"}),
    lambda person: person.http.post("/v1/responses", json={"model": "triage", "input": "Hello"}),
]


def budgets_path(neighbour: Person) -> str:
    return f"/api/v1/billing/tenants/{neighbour.tenant_id}/budgets"


def create_budget(neighbour: Person, **fields: Any) -> str:
    answer = neighbour.http.post(budgets_path(neighbour), json=fields)
    assert answer.status_code == 201, answer.text
    budget_id: str = answer.json()["id"]
    return budget_id


def amounts(neighbour: Person, budget_id: str) -> tuple[str, str]:
    budget = neighbour.http.get(f"{budgets_path(neighbour)}/{budget_id}").json()
    return budget["used"], budget["reserved"]


def test_a_budget_of_an_agent_counts_the_runs_that_it_hands_off(neighbour: Person) -> None:
    budget = create_budget(neighbour, scope="agent", scope_id="triage", unit="messages", limit=100)
    received = [event for _, event in neighbour.stream(REVIEW)]
    assert received[-1].data["agent"] == "code_assistant"
    until(lambda: amounts(neighbour, budget) == ("1", "0"))


def test_a_budget_holds_on_all_ways_in_and_is_seen_in_the_stream(neighbour: Person) -> None:
    budget = create_budget(neighbour, unit="messages", limit=4)
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda number: WAYS_IN[number % len(WAYS_IN)](neighbour), range(16)))
    statuses = [answer.status_code for answer in answers]
    refused = [answer for answer in answers if answer.status_code in {402, 429}]
    assert (sum(status in {200, 202} for status in statuses), len(refused)) == (4, 12), statuses
    problem = next(answer.json() for answer in refused if "error" not in answer.json())
    assert (problem["code"], problem["feature"]) == ("quota_exceeded", "messages")
    until(lambda: amounts(neighbour, budget) == ("4", "0"))
    with neighbour.http.stream("GET", "/api/v1/billing/stream", params={"after": 0}) as answer:
        assert answer.status_code == 200
        data = (line.removeprefix("data: ") for line in answer.iter_lines() if line.startswith("data: "))
        reached = next(event for event in map(json.loads, data) if is_used_up(event))
    assert reached["type"] == "billing.usage.threshold_reached.v1"


def is_used_up(event: dict[str, Any]) -> bool:
    return event["data"].get("percent") == 100


def test_what_is_done_to_a_budget_is_in_the_audit_log_of_its_tenant_alone(
    neighbour: Person, owner: Person
) -> None:
    budget = create_budget(neighbour, unit="cost", limit=500)
    neighbour.http.delete(f"{budgets_path(neighbour)}/{budget}")
    until(lambda: len(changes_in_log(neighbour, budget)) == 2)
    deleted, created = changes_in_log(neighbour, budget)
    assert (created["action"], deleted["action"]) == ("billing_budget_created", "billing_budget_deleted")
    assert (created["detail"]["unit"], created["detail"]["limit"]) == ("cost", "500")
    assert created["actor"].startswith("user:")
    assert created["session_id"]
    assert changes_in_log(owner, budget) == []


def changes_in_log(person: Person, budget: str) -> list[dict[str, Any]]:
    answer = person.http.get("/api/v1/auth/audit")
    assert answer.status_code == 200, answer.text
    return [row for row in answer.json()["items"] if row["detail"].get("budget_id") == budget]
