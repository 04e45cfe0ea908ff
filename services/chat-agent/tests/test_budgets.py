"""A budget holds on every way in: reserved before a run or a call of a model, and settled afterwards."""

from collections import Counter
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any
from uuid import uuid4

import httpx
import pytest
from agents import Agent
from chat_agent import budgets
from chat_agent.agents import AGENTS
from chat_agent.agents.tool import RunContext
from chat_agent.main import create_app
from chat_agent.settings import IMAGES_AND_FILES, Settings
from fastapi import FastAPI
from prometheus_client import REGISTRY
from servicekit.auth.dependencies import every_route
from testkit.eventually import until
from testkit.live_server import serving

from .billing_fake import Billing
from .client_helpers import (
    CHAT,
    ENDLESS,
    RUNS,
    STREAM,
    cancel_run,
    in_parallel,
    payloads_of,
    read_events,
    start_run,
    start_streaming_run,
    wait_until_finished,
)
from .protocols.test_routes import ag_ui, completion, response, ui

pytestmark = pytest.mark.usefixtures("reset_billing")
Call = Callable[[httpx.Client, str], httpx.Response]
AG_UI, UI = "/api/v1/agents/{name}/ag-ui", "/api/v1/chat/ui"


def post(path: str, body: Callable[[str], dict[str, Any]]) -> Call:
    return lambda client, message: client.post(path.replace("{name}", "triage"), json=body(message))


def plain(message: str) -> dict[str, Any]:
    return {"message": message}


# Every route that starts runs, and each way in which it answers.
WAYS_IN: list[tuple[str, Call]] = [
    (path, post(path, body))
    for path, body in (
        (CHAT, plain),
        ("/api/v1/agents/chat", plain),
        (STREAM, plain),
        (RUNS, plain),
        ("/v1/chat/completions", completion),
        ("/v1/chat/completions", lambda message: {**completion(message), "stream": False}),
        ("/v1/responses", response),
        ("/v1/responses", lambda message: {**response(message), "stream": False}),
        ("/v1/responses", lambda message: {**response(message), "stream": False, "background": True}),
        (AG_UI, ag_ui),
        (UI, lambda message: {**ui(message), "id": str(uuid4())}),
    )
]
# Only for authors of agents, and in no list of runs.
DRY_RUN = "/api/v1/agents/{name}/dry-run"
WRITES_AGENTS = ("{name}/publish", "{name}/rollback", "{name}/validate")
STARTS_NOTHING = {
    # Calls that are no runs; test_direct_models has their budgets.
    "/v1/completions",
    "/v1/embeddings",
    "/v1/moderations",
    "/v1/conversations",
    "/v1/files",
    "/v1/conversations/{conversation_id}",
    "/v1/conversations/{conversation_id}/items",
    *(
        f"/api/v1/mcp-servers/{{name}}/{what}"
        for what in ("confirm", "refresh", "sign-in", "sign-in/complete")
    ),
    "/api/v1/memories",
    "/api/v1/runs/{run_id}/cancel",
    "/api/v1/runs/{run_id}/approvals/{approval_id}",
    "/v1/responses/{response_id}/cancel",
    *(f"/api/v1/agents/{what}" for what in ("apply", *WRITES_AGENTS)),
}
# One call of a tool, so two of the model.
TOOL = "What time is it?"
ways_in = pytest.mark.parametrize(("path", "call"), WAYS_IN)


@pytest.fixture(scope="module")
def billed(settings: Settings, billing: Billing) -> Iterator[Settings]:
    unlimited = {
        name: 100_000
        for name in type(settings).model_fields
        if name.startswith("chat_") and name.endswith(("_per_minute", "_concurrent_limit"))
    }
    with serving(billing.app) as url:
        inputs = {"model_inputs": {"sandbox-large": IMAGES_AND_FILES}}
        changes = {"enable_billing": True, "billing_internal_url": url}
        yield settings.model_copy(update={**unlimited, **inputs, **changes})


@pytest.fixture(scope="module")
def app(billed: Settings) -> FastAPI:
    return create_app(billed)


@pytest.fixture
def caller(person: Callable[..., httpx.Client]) -> httpx.Client:
    """Somebody of a tenant of their own."""
    return person(tenant_id=uuid4())


def test_of_200_requests_on_all_ways_in_as_many_start_as_the_budget_allows(
    billing: Billing, caller: httpx.Client
) -> None:
    billing.limits = {"messages": 20}
    checks = limit_checks()
    calls = [WAYS_IN[number % len(WAYS_IN)][1] for number in range(200)]
    answers = in_parallel([lambda call=call: call(caller, "Hello") for call in calls])
    statuses = Counter(answer.status_code for answer in answers)
    assert (statuses[200] + statuses[202], statuses[402]) == (20, 180), statuses
    assert billing.limit_requests == 1
    assert limit_checks() >= checks + 200
    assert billing.reserved("messages") == 20
    assert len(caller.get(RUNS, params={"limit": 100}).json()["items"]) == 20


def limit_checks() -> float:
    """Return how often it was checked whether a tenant has limits."""
    names = ("cache", "billing")
    values = [REGISTRY.get_sample_value("chat_limit_checks_total", {"answered_by": name}) for name in names]
    return sum(value or 0 for value in values)


def test_knows_every_way_in(app: FastAPI) -> None:
    posts = {route.path for route in every_route(app.routes) if "POST" in (route.methods or ())}
    assert posts - STARTS_NOTHING == {path for path, _ in WAYS_IN} | {DRY_RUN}


def test_a_dry_run_is_a_run_within_the_budget(billing: Billing, person: Callable[..., httpx.Client]) -> None:
    billing.limits = {"messages": 1}
    author = person(tenant_id=uuid4(), role="admin")
    body = {"message": "Hello", "definition": {"instructions": "You help."}}
    path = DRY_RUN.replace("{name}", "support")
    assert [author.post(path, json=body).status_code for _ in range(2)] == [200, 402]
    assert billing.reserved("messages") == 1


def test_billing_knows_which_calls_use_a_key_of_the_tenants_own(
    billing: Billing, person: Callable[..., httpx.Client], billed: Settings
) -> None:
    embeds = {"tenants": ["*"], "endpoints": ["embeddings"], "provider_name": "sandbox-embedding"}
    members = {"direct_models": {"acme/embed": embeds}}
    with serving(create_app(Settings.model_validate({**billed.model_dump(), **members}))) as url:
        for has_key in (False, True):
            admin = person(tenant_id=uuid4(), role="admin")
            if has_key:
                key = {"key": "sk-tenants-own-0123-wxyz"}
                admin.put(f"{url}/api/v1/provider-keys/openai", json=key).raise_for_status()
            run = wait_until_finished(admin, start_run(admin, TOOL, url))
            calls = billing.of_run(run["id"])
            assert calls.keys() >= {"start", "1.1", "1.2"}
            assert {call.request.get("own_key", False) for call in calls.values()} == {has_key}
            assert (run["usage"].get("own_key_input_tokens", 0) > 0) is has_key
            billing.calls.clear()
            body = {"model": "acme/embed", "input": "Hello"}
            admin.post(f"{url}/v1/embeddings", json=body).raise_for_status()
            [call] = billing.calls.values()
            assert call.request.get("own_key", False) is has_key


@ways_in
def test_refuses_a_run_before_it_exists(
    path: str, call: Call, billing: Billing, caller: httpx.Client
) -> None:
    billing.limits = {"messages": 0}
    answer = call(caller, "Hello")
    assert answer.status_code == 402, answer.text
    if path.startswith("/v1/"):
        error = answer.json()["error"]
        assert (error["type"], error["code"]) == ("insufficient_quota", "insufficient_quota")
        message = error["message"]
    else:
        problem = answer.json()
        assert problem["code"] == "quota_exceeded"
        assert {"feature", "scope", "limit", "used", "resets_at", "upgrade_url"} <= problem.keys()
        assert (problem["feature"], problem["limit"]) == ("messages", "0")
        message = problem["detail"]
    assert "limit of 0 messages" in message
    assert "resets at 20" in message
    assert caller.get(RUNS).json()["items"] == []


def test_asks_to_wait_for_a_limit_that_resets_soon(billing: Billing, caller: httpx.Client) -> None:
    billing.limits, billing.resets_in = {"messages": 0}, timedelta(hours=1)
    answer = caller.post(CHAT, json={"message": "Hello"})
    assert (answer.status_code, answer.json()["code"]) == (429, "quota_exceeded")
    assert 3500 < int(answer.headers["Retry-After"]) <= 3600


def test_reserves_each_call_of_a_model_and_settles_what_it_used(
    billing: Billing, caller: httpx.Client
) -> None:
    answer = caller.post(CHAT, json={"message": "What time is it, and review this Python: x = 1"}).json()
    calls = settled(billing, answer["run_id"])
    assert [*calls] == ["start", *(f"1.{number}" for number in range(1, answer["usage"]["requests"] + 1))]
    start, *others = (call.request for call in calls.values())
    assert (start["messages"], start["input_tokens"], start["agent"]) == (1, 0, "triage")
    assert all(
        one["messages"] == 0 and one["input_tokens"] and one["output_tokens"] == 1024 for one in others
    )
    assert_settled_like(calls, answer["usage"])


def settled(billing: Billing, run_id: str) -> dict[str, Any]:
    """Wait until all calls of a run are settled."""

    def calls() -> dict[str, Any] | None:
        made = billing.of_run(run_id)
        open_calls = [call for name, call in made.items() if name != "start" and call.settled is None]
        return made if made and not open_calls else None

    return until(calls)


def assert_settled_like(calls: dict[str, Any], usage: dict[str, Any]) -> None:
    amounts = [call.settled for name, call in calls.items() if name != "start"]
    for field in ("input_tokens", "output_tokens"):
        assert sum(amount[field] for amount in amounts) == usage[field]


def test_reserves_retries_and_fallbacks_anew(
    billed: Settings, billing: Billing, person: Callable[..., httpx.Client]
) -> None:
    changed = billed.model_copy(update={"model_fallback": "sandbox-small", "model_max_retries": 1})
    with serving(create_app(changed)) as url:
        client = person(tenant_id=uuid4())
        message = "Hi [sandbox: only=sandbox-large, error=503, retry-after=0]"
        answer = client.post(f"{url}{CHAT}", json={"message": message}).json()
    calls = settled(billing, answer["run_id"])
    models = [call.request["model"] for call in calls.values()]
    assert models == ["sandbox-large", "sandbox-large", "sandbox-large", "sandbox-small"]
    assert [call.settled["input_tokens"] > 0 for call in [*calls.values()][1:]] == [False, False, True]


def test_reserves_for_agents_that_are_tools(
    billing: Billing, caller: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    helper = Agent[RunContext](name="helper", instructions="You are a helper.", model="sandbox-small")
    tool = helper.as_tool("ask_helper", "Ask the helper.")
    chief = Agent[RunContext](name="chief", instructions="You are the chief.", tools=[tool])
    monkeypatch.setitem(AGENTS, "chief", chief)
    answer = caller.post(CHAT, json={"message": "Please call ask_helper", "agent_type": "chief"}).json()
    calls = settled(billing, answer["run_id"])
    assert [call.request["model"] for call in calls.values()][1:] == [
        "sandbox-large",
        "sandbox-small",
        "sandbox-large",
    ]
    assert {call.request["agent"] for call in calls.values()} == {"chief"}
    assert_settled_like(calls, answer["usage"])


def test_settles_what_failed_and_cancelled_runs_used(billing: Billing, caller: httpx.Client) -> None:
    failing = start_run(caller, "Hi [sandbox: tokens=60, die-after=20]")
    cancelled = start_streaming_run(caller, ENDLESS)
    assert cancel_run(caller, cancelled).status_code == 200
    for run, status in ((failing, "failed"), (cancelled, "cancelled")):
        now = wait_until_finished(caller, run)
        assert (now["status"], now["usage"]["estimated"]) == (status, True)
        assert_settled_like(settled(billing, run["id"]), now["usage"])


def test_reserves_anew_when_a_run_goes_on_after_an_approval(billing: Billing, caller: httpx.Client) -> None:
    run = start_run(caller, "Forget it [sandbox: call=forget_conversation]")
    waiting = wait_until_finished(caller, run)
    assert waiting["status"] == "waiting"
    approval = waiting["approvals"][0]["id"]
    assert caller.post(f"{RUNS}/{run['id']}/approvals/{approval}", json={"approve": True}).status_code == 200
    until(lambda: caller.get(f"{RUNS}/{run['id']}").json()["status"] == "completed")
    assert [*settled(billing, run["id"])] == ["start", "1.1", "2.1"]


def test_ends_a_run_that_meets_its_limit_and_says_which(billing: Billing, caller: httpx.Client) -> None:
    billing.refused_call = "1.2"
    run = start_run(caller, TOOL)
    received = read_events(caller, run)
    assert payloads_of(received, "tool.output")
    last = received[-1]
    assert (last.type, last.data["code"]) == ("run.failed", "quota_exceeded")
    quota = last.data["quota"]
    assert (quota["feature"], quota["scope"], quota["limit"]) == ("tokens", "tenant", "2200")
    assert quota["resets_at"] > "20"
    assert "limit of 2200 tokens" in last.data["detail"]
    now = caller.get(f"{RUNS}/{run['id']}").json()
    assert (now["status"], now["error_code"]) == ("failed", "quota_exceeded")
    assert now["quota"] == quota
    assert_settled_like(settled(billing, run["id"]), now["usage"])


@pytest.fixture
def short(billed: Settings, person: Callable[..., httpx.Client]) -> Iterator[httpx.Client]:
    """Return a caller for whose calls little is reserved at a time."""
    with serving(create_app(billed.model_copy(update={"billing_reserved_output_tokens": 20}))) as url:
        client = person(tenant_id=uuid4())
        client.base_url = httpx.URL(url)
        yield client


def test_reserves_more_while_an_answer_grows(billing: Billing, short: httpx.Client) -> None:
    answer = short.post(CHAT, json={"message": "Much [sandbox: tokens=90]"}).json()
    calls = settled(billing, answer["run_id"])
    assert [*calls][:4] == ["start", "1.1", "1.1.1", "1.1.2"]
    assert {call.request["output_tokens"] for call in [*calls.values()][1:]} == {20}
    assert {call.tokens for call in [*calls.values()][2:]} == {0}
    assert_settled_like(calls, answer["usage"])


def test_ends_an_answer_that_meets_the_limit_while_it_grows(billing: Billing, short: httpx.Client) -> None:
    billing.refused_call = "1.1.2"
    run = start_run(short, "Much [sandbox: tokens=900]")
    now = wait_until_finished(short, run)
    assert (now["status"], now["error_code"]) == ("failed", "quota_exceeded")
    assert now["output"]
    assert 40 <= now["usage"]["output_tokens"] < 200
    assert_settled_like(settled(billing, run["id"]), now["usage"])


@ways_in
def test_tells_each_protocol_that_a_run_met_its_limit(
    path: str, call: Call, billing: Billing, caller: httpx.Client
) -> None:
    billing.refused_call = "1.2"
    answer = call(caller, TOOL)
    is_stream = answer.headers["content-type"].startswith("text/event-stream")
    if not is_stream and answer.status_code < 400:
        # It has not waited for the end of the run.
        assert path in {RUNS, "/v1/responses"}
        return
    assert answer.status_code == (200 if is_stream else 402)
    assert "limit of 2200 tokens" in answer.text
    code = "insufficient_quota" if path.startswith("/v1/") else "quota_exceeded"
    assert f'"code":"{code}"' in answer.text
    if path == CHAT:
        assert answer.json()["upgrade_url"] == "https://app.example.com/billing"


def test_goes_on_without_billing_only_where_it_is_known_that_there_is_no_limit(
    billing: Billing, person: Callable[..., httpx.Client]
) -> None:
    known, unknown = person(tenant_id=uuid4()), person(tenant_id=uuid4())
    billing.has_limits = False
    assert known.post(CHAT, json={"message": "Hello"}).status_code == 200
    billing.down = True
    assert known.post(CHAT, json={"message": "Hello"}).status_code == 200
    refused = unknown.post(CHAT, json={"message": "Hello"})
    assert (refused.status_code, refused.json()["code"]) == (503, "billing_unavailable")
    assert int(refused.headers["Retry-After"]) > 0
    assert unknown.get(RUNS).json()["items"] == []
    assert billing.calls == {}
    assert billing.limit_requests == 1


def test_a_request_is_as_large_as_the_plan_allows(billing: Billing, caller: httpx.Client) -> None:
    billing.requests = {"message_characters": 20, "attachment_bytes": 3}
    assert caller.post(CHAT, json={"message": "x" * 20}).status_code == 200
    long = caller.post(CHAT, json={"message": "x" * 21})
    assert (long.status_code, long.json()["code"]) == (400, "message_too_long")
    assert "20 characters in your plan" in long.json()["detail"]
    earlier = [{"role": "user", "content": "x" * 21}, {"role": "user", "content": "Hello"}]
    answer = caller.post("/v1/chat/completions", json={"model": "triage", "messages": earlier})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "message_too_long")
    files = [
        caller.post("/v1/files", files={"file": ("a.pdf", content)}, data={"purpose": "batch"}).json()["id"]
        for content in (b"12", b"34")
    ]
    statuses = []
    for parts in (
        [{"file": {"file_id": files[0]}}],
        [{"file": {"file_id": file_id}} for file_id in files],
        [{"file": {"file_data": "data:application/pdf;base64,MTIzNA=="}}],
        [{"file": {"file_data": "data:application/pdf;base64,MTI="}}],
    ):
        message = {"role": "user", "content": [{"type": "file", **part} for part in parts]}
        answer = caller.post("/v1/chat/completions", json={"model": "triage", "messages": [message]})
        statuses.append(answer.json().get("error", {}).get("code", answer.status_code))
    assert statuses == [200, "attachments_too_large", "attachments_too_large", 200]
    assert billing.limit_requests == 1


def test_asks_again_after_a_while_whether_there_are_limits(
    billing: Billing, caller: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(budgets, "CACHE_SECONDS", 0.0)
    billing.has_limits = False
    assert caller.post(CHAT, json={"message": "Hello"}).status_code == 200
    billing.has_limits, billing.limits = True, {"messages": 0}
    assert caller.post(CHAT, json={"message": "Hello"}).status_code == 402


def test_a_run_that_loses_billing_ends_before_the_model_is_called(
    billing: Billing, caller: httpx.Client
) -> None:
    first = caller.post(CHAT, json={"message": "Hello"})
    assert first.status_code == 200
    run = start_run(caller, "Forget it [sandbox: call=forget_conversation]")
    waiting = wait_until_finished(caller, run)
    billing.down = True
    path = f"{RUNS}/{run['id']}/approvals/{waiting['approvals'][0]['id']}"
    assert caller.post(path, json={"approve": True}).status_code == 200
    until(lambda: caller.get(f"{RUNS}/{run['id']}").json()["status"] == "failed")
    assert caller.get(f"{RUNS}/{run['id']}").json()["error_code"] == "billing_unavailable"


@ways_in
def test_warns_of_soft_limits(path: str, call: Call, billing: Billing, caller: httpx.Client) -> None:
    billing.limits, billing.is_soft = {"messages": 0}, True
    answer = call(caller, "Hello")
    assert answer.status_code in {200, 202}
    warning = answer.headers["X-Quota-Warning"]
    assert warning.startswith('messages;scope="tenant";used="1";limit="0";resets_at="20')


def test_releases_what_did_not_start(billing: Billing, caller: httpx.Client) -> None:
    billing.limits = {"messages": 2}
    run = start_streaming_run(caller, ENDLESS)
    busy = {"message": "Hello", "conversation_id": run["conversation_id"], "on_conflict": "reject"}
    assert caller.post(CHAT, json=busy).status_code == 409
    until(lambda: billing.reserved("messages") == 1)
    key = {"Idempotency-Key": uuid4().hex}
    answers = [caller.post(CHAT, json={"message": "Hello"}, headers=key) for _ in range(2)]
    # The second is a replay: nothing is reserved for it, though nothing is left.
    assert [answer.status_code for answer in answers] == [200, 200]
    assert billing.reserved("messages") == 2
    assert cancel_run(caller, run).status_code == 200


def test_names_the_api_key_of_a_machine(billing: Billing, person: Callable[..., httpx.Client]) -> None:
    key = uuid4()
    machine = person(tenant_id=uuid4(), subject=f"service:ak.{key.hex}")
    run = machine.post(CHAT, json={"message": "Hello"}).json()
    requests = [call.request for call in billing.of_run(run["run_id"]).values()]
    assert {(one["api_key_id"], one["user_id"]) for one in requests} == {(str(key), f"service:ak.{key.hex}")}


def test_reserves_nothing_unless_billing_is_enabled(
    billed: Settings, billing: Billing, person: Callable[..., httpx.Client]
) -> None:
    billing.limits = {"messages": 0}
    with serving(create_app(billed.model_copy(update={"enable_billing": False}))) as url:
        client = person(tenant_id=uuid4())
        assert client.post(f"{url}{CHAT}", json={"message": "Hello"}).status_code == 200
    assert (billing.calls, billing.limit_requests) == ({}, 0)
