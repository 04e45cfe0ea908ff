"""A budget through the gateway: what is reserved, refused, recorded and streamed by the real services."""

import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from starter_cli.stack import Stack

from .conftest import Person, until
from .test_chat import REVIEW

# One stack at a time is enough for the machine.
pytestmark = pytest.mark.xdist_group("stack")
ON = {"ENABLE_BILLING": "true"}
SETTINGS = {"chat-agent": ON, "billing-webhook": {**ON, "ENABLE_BILLING_STREAM": "true"}}
WAYS_IN: list[Callable[[Person], httpx.Response]] = [
    lambda person: person.http.post("/api/v1/chat", json={"message": "Hello"}),
    lambda person: person.http.post("/api/v1/chat/stream", json={"message": "Hello"}),
    lambda person: person.http.post("/api/v1/runs", json={"message": "Hello"}),
    lambda person: person.http.post("/v1/responses", json={"model": "triage", "input": "Hello"}),
]


@pytest.fixture(scope="module")
def owner() -> Iterator[Person]:
    """Give the owner of the first tenant of a stack with billing."""
    data = Path(tempfile.mkdtemp(prefix="acme e2e "))
    data.chmod(0o711)
    try:
        with (
            Stack(data, durable=False, settings=SETTINGS) as stack,
            httpx.Client(base_url=stack.gateway_url, timeout=60, trust_env=False) as client,
        ):
            person = Person(client)
            assert person.sign_in(stack.owner.email, stack.owner.password).status_code == 200
            yield person
    finally:
        shutil.rmtree(data)


def budgets_path(owner: Person) -> str:
    return f"/api/v1/billing/tenants/{owner.tenant_id}/budgets"


def create_budget(owner: Person, **fields: Any) -> str:
    answer = owner.http.post(budgets_path(owner), json=fields)
    assert answer.status_code == 201, answer.text
    budget_id: str = answer.json()["id"]
    return budget_id


def amounts(owner: Person, budget_id: str) -> tuple[str, str]:
    budget = owner.http.get(f"{budgets_path(owner)}/{budget_id}").json()
    return budget["used"], budget["reserved"]


def test_a_budget_of_an_agent_counts_the_runs_that_it_hands_off(owner: Person) -> None:
    budget = create_budget(owner, scope="agent", scope_id="triage", unit="messages", limit=100)
    received = [event for _, event in owner.stream(REVIEW)]
    assert received[-1].data["agent"] == "code_assistant"
    until(lambda: amounts(owner, budget) == ("1", "0"))
    owner.http.delete(f"{budgets_path(owner)}/{budget}")


def test_a_budget_holds_on_all_ways_in_and_is_seen_in_the_stream(owner: Person) -> None:
    used_before = owner.usage()["runs"]
    budget = create_budget(owner, unit="messages", limit=used_before + 4)
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda number: WAYS_IN[number % len(WAYS_IN)](owner), range(16)))
    statuses = [answer.status_code for answer in answers]
    refused = [answer for answer in answers if answer.status_code in {402, 429}]
    assert (sum(status in {200, 202} for status in statuses), len(refused)) == (4, 12), statuses
    problem = next(answer.json() for answer in refused if "error" not in answer.json())
    assert (problem["code"], problem["feature"]) == ("quota_exceeded", "messages")
    until(lambda: amounts(owner, budget) == (str(used_before + 4), "0"))
    with owner.http.stream("GET", "/api/v1/billing/stream", params={"after": 0}) as answer:
        assert answer.status_code == 200
        data = (line.removeprefix("data: ") for line in answer.iter_lines() if line.startswith("data: "))
        reached = next(event for event in map(json.loads, data) if is_used_up(event))
    assert reached["type"] == "billing.usage.threshold_reached.v1"
    owner.http.delete(f"{budgets_path(owner)}/{budget}")


def is_used_up(event: dict[str, Any]) -> bool:
    return event["data"].get("percent") == 100
