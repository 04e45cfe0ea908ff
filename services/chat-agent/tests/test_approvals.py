"""Calls that a person has to allow: the run rests until they have answered, and goes on from there."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import httpx
import pytest
from agents import Agent, ModelSettings
from chat_agent.agents import AGENTS
from chat_agent.agents.tool import RunContext, tool
from chat_agent.settings import Settings
from testkit.databases import query
from testkit.eventually import until
from testkit.sse import events

from .client_helpers import (
    CHAT,
    RUNS,
    STREAM,
    cancel_run,
    error_of,
    in_parallel,
    payloads_of,
    read_events,
    read_run,
    start_run,
    wait_until_finished,
)

Person = Callable[..., httpx.Client]
Run = dict[str, Any]
PAY = "pay amount=5"
TWICE = "Do it [sandbox: call=pay, call=pay]"


@dataclass
class Till:
    """Agents with a tool that must be allowed, and what was done with it."""

    paid: list[int] = field(default_factory=list)
    looked: int = 0

    def agents(self) -> list[Agent[RunContext]]:
        async def pay(amount: int) -> str:
            """Pay money out."""
            self.paid.append(amount)
            return f"paid out {amount}"

        async def look() -> str:
            """Open the till."""
            self.looked += 1
            return "full of money"

        tools: list[Any] = [tool(needs_approval=True, idempotent=False)(pay), tool(idempotent=False)(look)]
        cashier = Agent[RunContext](name="cashier", instructions="You are a cashier.", tools=tools)
        one_by_one = cashier.clone(
            name="slow_cashier", model_settings=ModelSettings(parallel_tool_calls=False)
        )
        clerk = Agent[RunContext](name="clerk", instructions="You are a clerk.", handoffs=[cashier])
        return [cashier, one_by_one, clerk]


@pytest.fixture
def till(monkeypatch: pytest.MonkeyPatch) -> Till:
    till = Till()
    for agent in till.agents():
        monkeypatch.setitem(AGENTS, agent.name, agent)
    return till


@pytest.fixture
def waiting(ann: httpx.Client, till: Till) -> Run:
    """Return a run that waits for one answer."""
    return asking(ann)


def asking(client: httpx.Client, message: str = PAY, at: str = "", **more: Any) -> Run:
    run = wait_until_finished(client, start_run(client, message, at, **{"agent_type": "cashier", **more}))
    assert run["status"] == "waiting", run
    return run


def answer(client: httpx.Client, run: Run, at: str = "", number: int = 0, **members: Any) -> httpx.Response:
    approval_id = run["approvals"][number]["id"]
    return client.post(f"{at}{RUNS}/{run['id']}/approvals/{approval_id}", json={"approve": True, **members})


def after_waiting(client: httpx.Client, run: Run, after: int, at: str = "") -> Run:
    """Read a run from an event on, until it is over; returns it as it is then."""
    read_events(client, run, after, at)
    return read_run(client, run)


def last_id(client: httpx.Client, run: Run) -> int:
    return read_events(client, run)[-1].id


def items_of(other_services: Any, run: Run) -> list[dict[str, Any]]:
    return [item["data"] for item in other_services.items[run["conversation_id"]]]


def assert_no_orphans(other_services: Any, run: Run) -> None:
    calls, outputs = (
        Counter(item["call_id"] for item in items_of(other_services, run) if item.get("type") == kind)
        for kind in ("function_call", "function_call_output")
    )
    assert calls == outputs
    assert not {number for number in calls.values() if number > 1}


def test_a_stream_ends_when_an_approval_is_requested(ann: httpx.Client, till: Till) -> None:
    with ann.stream("POST", STREAM, json={"message": PAY, "agent_type": "cashier"}) as stream:
        received = list(events(stream))
    (called,), (prompt,) = payloads_of(received, "tool.called"), payloads_of(received, "approval.required")
    assert [event.type for event in received][-2:] == ["approval.required", "run.waiting"]
    assert (prompt["name"], prompt["arguments"]) == ("pay", '{"amount": 5}')
    assert prompt["call_id"] == called["call_id"]
    assert received[-1].data["usage"]["output_tokens"] > 0
    assert till.paid == []


def test_a_waiting_run_has_its_requested_approvals(
    ann: httpx.Client, waiting: Run, settings: Settings
) -> None:
    (prompt,) = waiting["approvals"]
    assert (prompt["status"], prompt["agent"], prompt["name"]) == ("pending", "cashier", "pay")
    assert (prompt["arguments"], prompt["decided_by"]) == ('{"amount": 5}', None)
    created_at, waiting_until = (
        datetime.fromisoformat(waiting[at]) for at in ("created_at", "waiting_until")
    )
    assert waiting_until - created_at >= timedelta(seconds=settings.approval_timeout_seconds)
    assert waiting["ended_at"] is None
    (required,) = payloads_of(read_events(ann, waiting), "approval.required")
    assert required["approval_id"] == prompt["id"]
    (listed,) = ann.get(RUNS, params={"status": "waiting"}).json()["items"]
    assert listed["id"] == waiting["id"]


def test_a_client_that_has_all_events_need_not_resume_before_the_decision(
    ann: httpx.Client, waiting: Run
) -> None:
    events_of_it = f"{RUNS}/{waiting['id']}/events"
    last = last_id(ann, waiting)
    assert ann.get(events_of_it, params={"after": last}).status_code == 204
    answer(ann, waiting)
    assert read_events(ann, waiting, last)[0].id == last + 1


@pytest.fixture(params=["here", "elsewhere"])
def at(request: pytest.FixtureRequest, other_url: str) -> str:
    """Return where the answer goes: to the replica that asked, or to another one."""
    return "" if request.param == "here" else other_url


def test_what_is_allowed_is_done_once_and_the_run_goes_on(
    ann: httpx.Client, till: Till, waiting: Run, other_services, at: str
) -> None:
    before = read_events(ann, waiting)
    allowed = answer(ann, waiting, at)
    assert (allowed.status_code, allowed.json()["status"]) == (200, "running")
    received = read_events(ann, waiting, before[-1].id, at)
    assert [event.id for event in received] == list(range(before[-1].id + 1, received[-1].id + 1))
    assert received[0].type == "run.resumed"
    assert (received[0].data["reason"], received[0].data["withdrawn"]) == ("answered", [])
    (output,) = payloads_of(received, "tool.output")
    assert (output["name"], output["output"]) == ("pay", "paid out 5")
    assert till.paid == [5]
    run = read_run(ann, waiting)
    assert (received[-1].type, run["status"], run["waiting_until"]) == ("run.completed", "completed", None)
    assert "paid out 5" in run["output"]
    (approval,) = run["approvals"]
    assert (approval["status"], approval["decided_by"]) == ("approved", run["user_id"])
    assert_no_orphans(other_services, run)


def test_all_events_can_be_streamed_anywhere(ann: httpx.Client, waiting: Run, at: str) -> None:
    answer(ann, waiting, at)
    until(lambda: read_run(ann, waiting)["status"] == "completed")
    received = read_events(ann, waiting)
    assert received == read_events(ann, waiting, at=at)
    assert [event.id for event in received] == list(range(1, len(received) + 1))
    kinds = Counter(event.type for event in received)
    assert (kinds["run.started"], kinds["run.waiting"], kinds["run.resumed"]) == (1, 1, 1)
    assert (kinds["tool.called"], kinds["tool.output"], kinds["run.completed"]) == (1, 1, 1)


def test_usage_is_counted_over_both_halves(ann: httpx.Client, waiting: Run) -> None:
    last = last_id(ann, waiting)
    answer(ann, waiting)
    run = after_waiting(ann, waiting, last)
    assert waiting["usage"]["requests"] == 1
    assert run["usage"]["requests"] == 2
    for kind in ("input_tokens", "output_tokens"):
        assert run["usage"][kind] > waiting["usage"][kind] > 0
    assert read_events(ann, run)[-1].data["usage"] == run["usage"]


def test_the_agent_hears_why_it_may_not(ann: httpx.Client, till: Till, waiting: Run, other_services) -> None:
    last = last_id(ann, waiting)
    refused = answer(ann, waiting, approve=False, reason="Far too much!")
    assert refused.status_code == 200
    run = after_waiting(ann, waiting, last)
    assert run["status"] == "completed"
    assert "Far too much!" in run["output"]
    assert till.paid == []
    (approval,) = run["approvals"]
    assert (approval["status"], approval["reason"]) == ("rejected", "Far too much!")
    assert_no_orphans(other_services, run)


@pytest.mark.parametrize(
    "body", [{}, {"approve": "perhaps"}, {"approve": True, "reason": "x" * 1001}, {"approve": True, "by": 1}]
)
def test_an_answer_must_be_one(ann: httpx.Client, waiting: Run, body: dict[str, Any]) -> None:
    path = f"{RUNS}/{waiting['id']}/approvals/{waiting['approvals'][0]['id']}"
    assert error_of(ann.post(path, json=body)) == (422, "invalid_request")
    assert read_run(ann, waiting)["status"] == "waiting"


def test_a_run_goes_on_only_when_all_is_answered(
    ann: httpx.Client, till: Till, other_services, at: str
) -> None:
    run = asking(ann, TWICE)
    last = last_id(ann, run)
    assert len(run["approvals"]) == len(payloads_of(read_events(ann, run), "approval.required")) == 2
    assert answer(ann, run).json()["status"] == "waiting"
    assert till.paid == []
    assert answer(ann, run, at, number=1, approve=False).json()["status"] == "running"
    assert after_waiting(ann, run, last)["status"] == "completed"
    assert len(till.paid) == 1
    assert_no_orphans(other_services, run)


def test_decisions_that_come_all_at_once_all_count(
    ann: httpx.Client, till: Till, other_services, other_url: str
) -> None:
    run = asking(ann, TWICE)
    last = last_id(ann, run)
    answers = in_parallel([lambda: answer(ann, run), lambda: answer(ann, run, other_url, number=1)])
    assert [each.status_code for each in answers] == [200, 200]
    assert after_waiting(ann, run, last)["status"] == "completed"
    assert len(till.paid) == 2
    assert_no_orphans(other_services, run)


def test_of_many_answers_to_one_question_one_counts(
    ann: httpx.Client, till: Till, waiting: Run, other_url: str
) -> None:
    last = last_id(ann, waiting)
    answers = in_parallel(
        [
            lambda at=at, yes=yes: answer(ann, waiting, at, approve=yes)
            for at in ("", other_url)
            for yes in (True, False)
        ]
    )
    (counted,) = [each for each in answers if each.status_code == 200]
    assert [error_of(each) for each in answers if each is not counted] == [(409, "approval_answered")] * 3
    run = after_waiting(ann, waiting, last)
    assert run["status"] == "completed"
    assert till.paid == ([5] if run["approvals"][0]["status"] == "approved" else [])
    assert error_of(answer(ann, waiting)) == (409, "approval_answered")


def test_an_approval_that_was_not_requested_cannot_be_decided(ann: httpx.Client, waiting: Run) -> None:
    other = asking(ann)
    for approval_id in (uuid4(), other["approvals"][0]["id"]):
        path = f"{RUNS}/{waiting['id']}/approvals/{approval_id}"
        assert error_of(ann.post(path, json={"approve": True})) == (404, "approval_not_found")


def test_only_the_user_of_the_run_may_decide(person: Person, till: Till) -> None:
    subject = f"user:{uuid4()}"
    run = asking(person(subject=subject))
    for stranger in (person(), person(role="owner"), person(tenant_id=uuid4(), subject=subject)):
        assert error_of(answer(stranger, run)) == (404, "run_not_found")
    assert error_of(answer(person(subject=subject, role="viewer"), run)) == (403, "forbidden")
    assert read_run(person(subject=subject), run)["status"] == "waiting"
    assert till.paid == []


def test_the_whole_answer_says_that_the_run_waits(ann: httpx.Client, till: Till) -> None:
    prompt = {"json": {"message": PAY, "agent_type": "cashier"}, "headers": {"Idempotency-Key": "pay"}}
    first = ann.post(CHAT, **prompt)
    assert (first.status_code, first.json()["metadata"]["status"]) == (202, "waiting")
    assert first.json()["response"] == ""
    run = read_run(ann, {"id": first.json()["run_id"]})
    assert first.json()["approvals"] == run["approvals"] != []
    last = last_id(ann, run)
    answer(ann, run)
    after_waiting(ann, run, last)
    again = ann.post(CHAT, **prompt)
    assert (again.status_code, again.json()["metadata"]["status"]) == (200, "completed")
    assert again.json()["approvals"] == []
    assert "paid out 5" in again.json()["response"]
    assert till.paid == [5]


def test_a_run_may_ask_again(ann: httpx.Client, till: Till, other_services, at: str) -> None:
    first = asking(ann, TWICE, agent_type="slow_cashier")
    assert len(first["approvals"]) == 1
    last = last_id(ann, first)
    answer(ann, first, at)
    second = after_waiting(ann, first, last)
    assert (second["status"], [one["status"] for one in second["approvals"]]) == (
        "waiting",
        ["approved", "pending"],
    )
    assert len(till.paid) == 1
    last = last_id(ann, second)
    answer(ann, second, number=1)
    done = after_waiting(ann, second, last, at)
    assert (done["status"], len(till.paid)) == ("completed", 2)
    assert done["usage"]["requests"] == 3
    received = read_events(ann, done)
    assert [event.id for event in received] == list(range(1, len(received) + 1))
    assert_no_orphans(other_services, done)


def test_what_needs_no_leave_is_done_meanwhile_and_once(
    ann: httpx.Client, till: Till, other_services, at: str
) -> None:
    run = asking(ann, "pay amount=5 [sandbox: call=look, call=pay]")
    assert (till.looked, till.paid) == (1, [])
    last = last_id(ann, run)
    answer(ann, run, at)
    done = after_waiting(ann, run, last)
    assert (done["status"], till.looked, till.paid) == ("completed", 1, [5])
    assert Counter(one["name"] for one in payloads_of(read_events(ann, run), "tool.output")) == {
        "look": 1,
        "pay": 1,
    }
    assert_no_orphans(other_services, done)


def test_a_run_goes_on_at_the_agent_it_was_handed_to(
    ann: httpx.Client, till: Till, other_services, at: str
) -> None:
    run = asking(ann, "Ask the cashier to pay amount=5", agent_type="clerk")
    assert (run["approvals"][0]["agent"], run["handoffs"]) == ("cashier", ["cashier"])
    last = last_id(ann, run)
    answer(ann, run, at)
    done = after_waiting(ann, run, last)
    assert (done["status"], done["final_agent"], done["handoffs"]) == ("completed", "cashier", ["cashier"])
    assert till.paid == [5]
    assert len(payloads_of(read_events(ann, run), "agent.changed")) == 1
    assert_no_orphans(other_services, done)


def test_a_conversation_is_forgotten_only_when_the_person_allows_it(
    ann: httpx.Client, other_services
) -> None:
    old = wait_until_finished(ann, start_run(ann, "Something embarrassing"))["conversation_id"]
    wish = f"forget conversation conversation_id={old}"
    for approve, left in ((False, 2), (True, 0)):
        run = asking(ann, wish, agent_type="triage")
        last = last_id(ann, run)
        answer(ann, run, approve=approve)
        assert after_waiting(ann, run, last)["status"] == "completed"
        assert len(other_services.items[old]) == left


def test_what_nobody_answers_in_time_fails_by_name(
    ann: httpx.Client, till: Till, waiting: Run, other_services, settings: Settings
) -> None:
    last = last_id(ann, waiting)
    expire = "update runs set waiting_until = now() where id = $1"
    query(settings.database_url.get_secret_value(), expire, waiting["id"])
    run = until(lambda: (now := read_run(ann, waiting))["status"] != "waiting" and now)
    received = read_events(ann, run, last)
    run = read_run(ann, run)
    assert (run["status"], run["error_code"]) == ("failed", "approval_expired")
    assert [one["status"] for one in run["approvals"]] == ["expired"]
    assert (received[-1].type, received[-1].data["code"]) == ("run.failed", "approval_expired")
    assert error_of(answer(ann, run)) == (409, "approval_answered")
    assert_no_orphans(other_services, run)
    again = start_run(ann, "Hello", conversation_id=run["conversation_id"])
    assert wait_until_finished(ann, again)["status"] == "completed"
    assert till.paid == []


REFUSALS = [
    ({"tenant_status": "suspended"}, "tenant_suspended"),
    ({"user_status": "disabled"}, "membership_ended"),
    ({"role": "viewer"}, "membership_ended"),
    (None, "membership_ended"),
]


@pytest.mark.parametrize(("change", "failure"), REFUSALS)
def test_a_run_does_not_go_on_for_an_owner_who_may_not_any_more(
    ann: httpx.Client, till: Till, waiting: Run, other_services, change: dict[str, str] | None, failure: str
) -> None:
    last = last_id(ann, waiting)
    other_services.membership_response = (
        None if change is None else {**other_services.membership_response, **change}
    )
    # The token of a moment ago still answers.
    assert answer(ann, waiting).status_code == 200
    received = read_events(ann, waiting, last)
    run = read_run(ann, waiting)
    assert (run["status"], run["error_code"]) == ("failed", failure)
    assert (received[-1].type, received[-1].data["code"]) == ("run.failed", failure)
    assert till.paid == []
    assert_no_orphans(other_services, run)


@pytest.mark.parametrize("subject", [f"service:sa.nightly-export.{'0a' * 16}", f"service:ak.{'0a' * 16}"])
@pytest.mark.parametrize(("change", "failure"), [REFUSALS[0], REFUSALS[-1]])
def test_a_machines_run_does_not_go_on_where_the_machine_may_not_any_more(
    person: Callable[..., httpx.Client], till: Till, other_services, subject: str, change: Any, failure: str
) -> None:
    machine = person(subject=subject)
    waiting = asking(machine)
    last = last_id(machine, waiting)
    other_services.membership_response = (
        None if change is None else {**other_services.membership_response, **change}
    )
    answer(machine, waiting)
    read_events(machine, waiting, last)
    run = read_run(machine, waiting)
    assert (run["status"], run["error_code"]) == ("failed", failure)
    assert till.paid == []


def test_a_run_that_goes_on_asks_whether_its_owner_may(
    ann: httpx.Client, till: Till, waiting: Run, other_services
) -> None:
    # It began with a token of theirs.
    assert other_services.membership_requests == []
    last = last_id(ann, waiting)
    answer(ann, waiting)
    assert after_waiting(ann, waiting, last)["status"] == "completed"
    assert other_services.membership_requests == [other_services.owners[waiting["conversation_id"]]]
    assert till.paid == [5]


def test_a_run_waits_for_auth_to_come_back(
    ann: httpx.Client, till: Till, waiting: Run, other_services
) -> None:
    last = last_id(ann, waiting)
    other_services.auth_down = True
    answer(ann, waiting)
    until(lambda: other_services.membership_requests)
    other_services.auth_down = False
    assert after_waiting(ann, waiting, last)["status"] == "completed"
    assert till.paid == [5]


def test_a_run_that_nobody_vouches_for_fails_by_name(
    ann: httpx.Client, till: Till, waiting: Run, other_services
) -> None:
    last = last_id(ann, waiting)
    other_services.auth_down = True
    answer(ann, waiting)
    run = after_waiting(ann, waiting, last)
    assert (run["status"], run["error_code"]) == ("failed", "auth_unavailable")
    assert till.paid == []
    assert_no_orphans(other_services, run)


def test_a_run_that_is_stopped_needs_nobody_to_vouch_for_it(
    ann: httpx.Client, till: Till, waiting: Run, other_services
) -> None:
    other_services.membership_response = None
    assert cancel_run(ann, waiting).status_code == 200
    run = until(lambda: (now := read_run(ann, waiting))["ended_at"] and now)
    assert run["status"] == "cancelled"


def test_a_run_that_waits_can_be_cancelled(
    ann: httpx.Client, till: Till, waiting: Run, other_services, at: str
) -> None:
    last = last_id(ann, waiting)
    assert cancel_run(ann, waiting, at).status_code == 200
    assert error_of(answer(ann, waiting)) == (409, "approval_answered")
    run = until(lambda: (now := read_run(ann, waiting))["ended_at"] and now)
    assert run["status"] == "cancelled"
    assert read_events(ann, run, last)[-1].type == "run.cancelled"
    assert [one["status"] for one in run["approvals"]] == ["expired"]
    assert run["usage"] == waiting["usage"]
    assert_no_orphans(other_services, run)
    again = start_run(ann, "Hello", conversation_id=run["conversation_id"])
    assert wait_until_finished(ann, again)["status"] == "completed"
    assert till.paid == []


def test_a_message_waits_until_all_is_answered(
    ann: httpx.Client, till: Till, waiting: Run, other_services, at: str
) -> None:
    same = {"conversation_id": waiting["conversation_id"]}
    second = start_run(ann, "Second", at, **same)
    assert second["status"] == "queued"
    refused = ann.post(f"{at}{RUNS}", json={"message": "Third", "on_conflict": "reject", **same})
    assert error_of(refused) == (409, "conversation_busy")
    last = last_id(ann, waiting)
    answer(ann, waiting)
    assert after_waiting(ann, waiting, last)["status"] == "completed"
    assert wait_until_finished(ann, second)["status"] == "completed"
    roles = [role for role, _ in other_services.messages(waiting["conversation_id"])]
    assert roles == ["user", "assistant", "user", "assistant"]


@pytest.mark.parametrize("on_conflict", ["interrupt", "rollback"])
def test_a_message_can_make_a_question_moot(
    ann: httpx.Client, till: Till, waiting: Run, other_services, at: str, on_conflict: str
) -> None:
    same = {"conversation_id": waiting["conversation_id"], "on_conflict": on_conflict}
    second = start_run(ann, "Second", at, **same)
    assert wait_until_finished(ann, second)["status"] == "completed"
    first = read_run(ann, waiting)
    assert (first["status"], [one["status"] for one in first["approvals"]]) == ("cancelled", ["expired"])
    assert error_of(answer(ann, waiting)) == (409, "approval_answered")
    texts = [text for role, text in other_services.messages(waiting["conversation_id"]) if role == "user"]
    assert texts == ([PAY] if on_conflict == "interrupt" else []) + ["Second"]
    assert_no_orphans(other_services, waiting)
    assert till.paid == []


def gone(agents: dict[str, Any], _database: str) -> None:
    del agents["cashier"]


def unreadable(_agents: dict[str, Any], database: str) -> None:
    query(database, "update runs set state = '{'")


def of_another_version(_agents: dict[str, Any], database: str) -> None:
    query(database, """update runs set state = jsonb_set(state::jsonb, '{$schemaVersion}', '"99.0"')::text""")


@pytest.mark.parametrize("changed", [gone, unreadable, of_another_version])
def test_what_cannot_go_on_from_where_it_waited_fails_by_name(
    ann: httpx.Client, till: Till, other_services, settings: Settings, changed: Callable[..., None]
) -> None:
    run = asking(ann)
    last = last_id(ann, run)
    changed(AGENTS, settings.database_url.get_secret_value())
    assert answer(ann, run).status_code == 200
    done = after_waiting(ann, run, last)
    assert (done["status"], done["error_code"]) == ("failed", "checkpoint_invalid")
    assert_no_orphans(other_services, done)
    again = start_run(ann, "Hello", conversation_id=run["conversation_id"])
    assert wait_until_finished(ann, again)["status"] == "completed"
    assert till.paid == []


def test_an_agent_that_hands_over_to_another_no_more_cannot_go_on(
    ann: httpx.Client, till: Till, other_services, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = asking(ann, "Ask the cashier to pay amount=5", agent_type="clerk")
    last = last_id(ann, run)
    monkeypatch.setitem(AGENTS, "clerk", AGENTS["clerk"].clone(handoffs=[]))
    answer(ann, run)
    done = after_waiting(ann, run, last)
    assert (done["status"], done["error_code"]) == ("failed", "checkpoint_invalid")
    assert_no_orphans(other_services, done)


def test_an_agent_hears_that_a_tool_is_gone(
    ann: httpx.Client, till: Till, waiting: Run, other_services, monkeypatch: pytest.MonkeyPatch
) -> None:
    last = last_id(ann, waiting)
    monkeypatch.setitem(AGENTS, "cashier", AGENTS["cashier"].clone(tools=[]))
    answer(ann, waiting)
    received = read_events(ann, waiting, last)
    (output,) = payloads_of(received, "tool.output")
    assert "not found" in output["output"]
    assert received[-1].type == "run.completed"
    assert_no_orphans(other_services, waiting)
    assert till.paid == []


def test_a_run_in_the_queue_whose_agent_is_gone_holds_nobody_up(
    ann: httpx.Client, till: Till, waiting: Run
) -> None:
    same = {"conversation_id": waiting["conversation_id"]}
    second = start_run(ann, "Second", agent_type="cashier", **same)
    third = start_run(ann, "Third", **same)
    last = last_id(ann, waiting)
    del AGENTS["cashier"]
    answer(ann, waiting)
    runs = [
        after_waiting(ann, waiting, last),
        wait_until_finished(ann, second),
        wait_until_finished(ann, third),
    ]
    assert [run["error_code"] for run in runs] == ["checkpoint_invalid"] * 2 + [None]
