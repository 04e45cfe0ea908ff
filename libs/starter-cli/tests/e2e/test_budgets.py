"""A budget through the gateway: what is reserved, refused, recorded and streamed by the real services."""

import json
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import cycle, islice
from typing import Any
from uuid import uuid4

import httpx

from .conftest import PASSWORD, Inbox, Person, until, until_available
from .test_chat import REVIEW

Call = Callable[[Person], httpx.Response]


def post(path: str, **body: Any) -> Call:
    return lambda person: person.http.post(path, json=body)


def ui_message(person: Person) -> httpx.Response:
    message = {"id": "1", "role": "user", "parts": [{"type": "text", "text": "Hello"}]}
    body = {"id": str(uuid4()), "messages": [message], "trigger": "submit-message"}
    return person.http.post("/api/v1/chat/ui", json=body)


MESSAGES = [{"id": "1", "role": "user", "content": "Hello"}]
AG_UI = {"threadId": "t", "runId": "1", "messages": MESSAGES, "tools": [], "context": []}
COMPLETION = {"model": "triage", "messages": [{"role": "user", "content": "Hello"}]}
RESPONSE = {"model": "triage", "input": "Hello"}

# Every surface that starts runs, in each way in which it answers.
SURFACES: dict[str, Call] = {
    "chat": post("/api/v1/chat", message="Hello"),
    "chat by its other path": post("/api/v1/agents/chat", message="Hello"),
    "chat, streamed": post("/api/v1/chat/stream", message="Hello"),
    "runs": post("/api/v1/runs", message="Hello"),
    "completions": post("/v1/chat/completions", **COMPLETION),
    "completions, streamed": post("/v1/chat/completions", **COMPLETION, stream=True),
    "responses": post("/v1/responses", **RESPONSE),
    "responses, streamed": post("/v1/responses", **RESPONSE, stream=True),
    "responses, in the background": post("/v1/responses", **RESPONSE, background=True),
    "AG-UI": post("/api/v1/agents/triage/ag-ui", **AG_UI),
    "UI messages": ui_message,
}
REQUESTS, ALLOWED = 200, 20
EXCEEDED = {"quota_exceeded", "insufficient_quota"}


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


def test_of_200_parallel_requests_on_all_surfaces_a_budget_for_20_lets_20_through(
    neighbour: Person, someone: Callable[[], Person]
) -> None:
    budget = create_budget(neighbour, unit="messages", limit=ALLOWED)
    callers = [neighbour, program_of(neighbour, someone)]
    calls = [partial(SURFACES[name], callers[number % 2]) for number, name in mixed_surfaces()]
    with ThreadPoolExecutor(REQUESTS) as pool:
        answers = list(pool.map(lambda call: call(), calls))
    unanswered = [call for call, answer in zip(calls, answers, strict=True) if is_busy(answer)]
    assert ALLOWED - len(unanswered) <= sum(answer.is_success for answer in answers) <= ALLOWED
    assert {code_of(answer) for answer in answers if is_refused(answer)} == EXCEEDED
    # Every run is in the ledger once, and nothing stays reserved: what was not answered is free for others.

    def is_used_up_exactly() -> bool:
        for call in unanswered:
            call()
        return amounts(neighbour, budget) == (str(ALLOWED), "0")

    until(is_used_up_exactly)
    assert neighbour.usage()["runs"] == ALLOWED
    for name, call in SURFACES.items():
        assert code_of(call(neighbour)) in EXCEEDED, name
    with neighbour.http.stream("GET", "/api/v1/billing/stream", params={"after": 0}) as answer:
        assert answer.status_code == 200
        data = (line.removeprefix("data: ") for line in answer.iter_lines() if line.startswith("data: "))
        reached = next(event for event in map(json.loads, data) if is_used_up(event))
    assert reached["type"] == "billing.usage.threshold_reached.v1"


def test_the_page_of_upgrade_url_leads_to_stripes_checkout(
    register: Callable[..., str], inbox: Inbox, someone: Callable[[], Person]
) -> None:
    email, person = register(), someone()
    person.verify(inbox.token(email))
    person.sign_in(email, PASSWORD)
    create_budget(person, unit="messages", limit=0)
    page = SURFACES["chat"](person).json()["upgrade_url"]
    typed = {"plan": "starter", "email": email, "password": PASSWORD}
    unknown = {**typed, "plan": "none"}
    wrong = until_available(lambda: httpx.post(page, data=unknown, timeout=60, trust_env=False))
    assert (wrong.status_code, 'role="alert"' in wrong.text) == (400, True)
    answer = until_available(lambda: httpx.post(page, data=typed, timeout=60, trust_env=False))
    assert answer.status_code == 303, answer.text
    checkout = httpx.get(answer.headers["Location"], timeout=60, trust_env=False)
    assert (checkout.status_code, "Starter" in checkout.text) == (200, True), checkout.text


def program_of(neighbour: Person, someone: Callable[[], Person]) -> Person:
    """Return a program that uses an API key of the tenant."""
    answer = neighbour.http.post(
        "/api/v1/auth/api-keys", json={"name": "program", "scopes": ["conversations:write"]}
    )
    assert answer.status_code == 201, answer.text
    program = someone()
    program.http.headers["Authorization"] = f"Bearer {answer.json()['key']}"
    return program


def mixed_surfaces() -> Iterable[tuple[int, str]]:
    return enumerate(islice(cycle(SURFACES), REQUESTS))


def is_busy(answer: httpx.Response) -> bool:
    """Return whether it is the machine that did not answer, and not the budget."""
    return answer.status_code in {429, 502, 503, 504} and code_of(answer) not in EXCEEDED


def is_refused(answer: httpx.Response) -> bool:
    return not (answer.is_success or is_busy(answer))


def code_of(answer: httpx.Response) -> str:
    body = answer.json()
    code: str = body.get("error", body)["code"]
    return code


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
