"""Limits of agents that take over: from the handoff on, a run has at most these."""

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from chat_agent.main import create_app
from chat_agent.settings import Settings
from testkit.fork_server import ForkServer
from testkit.issuer import Issuer
from testkit.live_server import NO_AUTHORITIES, serving
from testkit.service_process import ServiceProcess
from testkit.sse import events

from .client_helpers import RUNS, start_run, wait_until_finished
from .test_agent_definitions import published

REPLICA = Path(__file__).parent / "replica.py"
TIME = {"name": "current_time"}
FORGET = {"name": "forget_conversation"}
TWICE = "Now [sandbox: call=transfer_to_clerk, call=current_time, call=current_time]"
ONE_BY_ONE = {"settings": {"parallel_tool_calls": False}}
Run = dict[str, Any]


@pytest.fixture(scope="module")
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"run_lease_seconds": 5.0})


def finished(client: httpx.Client, message: str) -> Run:
    return wait_until_finished(client, start_run(client, message, agent_type="support"))


def end_of(run: Run) -> tuple[str, str | None]:
    return run["final_agent"], run["error_code"]


def tokens_of(run: Run) -> int:
    return run["usage"]["input_tokens"] + run["usage"]["output_tokens"]


def test_turns_are_counted_from_the_handoff(admin: httpx.Client, member: httpx.Client) -> None:
    published(admin, "clerk", tools=[TIME], limits={"turns": 3}, **ONE_BY_ONE)
    published(admin, "support", handoffs=["clerk"], limits={"turns": 4})
    run = finished(member, TWICE)
    assert (end_of(run), run["usage"]["requests"]) == (("clerk", None), 4)
    published(admin, "clerk", tools=[TIME], limits={"turns": 2}, **ONE_BY_ONE)
    run = finished(member, TWICE)
    assert (end_of(run), run["usage"]["requests"]) == (("clerk", "max_turns_exceeded"), 3)


def test_an_agent_cannot_raise_what_is_left(admin: httpx.Client, member: httpx.Client) -> None:
    published(admin, "clerk", tools=[TIME], limits={"turns": 100, "tokens": 1_000_000, "seconds": 1000})
    published(admin, "support", handoffs=["clerk"], limits={"turns": 2})
    assert end_of(finished(member, TWICE)) == ("clerk", "max_turns_exceeded")
    published(admin, "support", handoffs=["clerk"])
    total = tokens_of(finished(member, TWICE))
    published(admin, "support", handoffs=["clerk"], limits={"tokens": total // 2})
    assert finished(member, TWICE)["error_code"] == "token_budget_exceeded"


def test_a_handoff_back_gives_nothing_back(admin: httpx.Client, member: httpx.Client) -> None:
    published(admin, "clerk")
    published(admin, "support", handoffs=["clerk"], limits={"turns": 6})
    published(admin, "clerk", handoffs=["support"], limits={"turns": 2})
    circle = "Go [sandbox: call=transfer_to_clerk, call=transfer_to_support]"
    assert end_of(finished(member, circle)) == ("support", None)
    published(admin, "clerk", handoffs=["support"], limits={"turns": 1})
    assert end_of(finished(member, circle)) == ("support", "max_turns_exceeded")


def test_tokens_are_counted_from_the_handoff(admin: httpx.Client, member: httpx.Client) -> None:
    published(admin, "clerk", tools=[TIME], limits={"tokens": 1500})
    published(admin, "support", handoffs=["clerk"], instructions="You help. " * 1000)
    run = finished(member, TWICE)
    assert end_of(run) == ("clerk", None)
    assert tokens_of(run) > 1500
    published(admin, "clerk", tools=[TIME], limits={"tokens": 50})
    assert end_of(finished(member, TWICE)) == ("clerk", "token_budget_exceeded")


def test_seconds_are_counted_from_the_handoff(admin: httpx.Client, member: httpx.Client) -> None:
    published(admin, "clerk", limits={"seconds": 1})
    published(admin, "support", handoffs=["clerk"])
    slowly = "Slowly [sandbox: call=transfer_to_clerk, tokens=2000, rate=20/s]"
    assert end_of(finished(member, slowly)) == ("clerk", "run_timed_out")


def approved(client: httpx.Client, at: str) -> Run:
    """Run the agent until it waits, and let it go on elsewhere."""
    run = finished(client, "Forget it [sandbox: call=transfer_to_clerk, call=forget_conversation]")
    assert run["status"] == "waiting", run
    (approval,) = run["approvals"]
    address = f"{at}{RUNS}/{run['id']}/approvals/{approval['id']}"
    client.post(address, json={"approve": True}).raise_for_status()
    return {**wait_until_finished(client, run), "tokens_before": tokens_of(run)}


def test_tokens_of_earlier_attempts_count(admin: httpx.Client, member: httpx.Client, other_url: str) -> None:
    published(admin, "clerk", tools=[FORGET])
    published(admin, "support", handoffs=["clerk"])
    run = approved(member, other_url)
    after = tokens_of(run) - run["tokens_before"]
    published(admin, "clerk", tools=[FORGET], limits={"tokens": after + after // 3})
    assert end_of(approved(member, other_url)) == ("clerk", "token_budget_exceeded")
    published(admin, "clerk", tools=[FORGET], limits={"tokens": tokens_of(run)})
    assert end_of(approved(member, other_url)) == ("clerk", None)


def test_limits_hold_after_a_killed_process(
    admin: httpx.Client,
    settings: Settings,
    issuer: Issuer,
    tenant: UUID,
    fork_server: Callable[[Path], ForkServer],
    tmp_path: Path,
) -> None:
    published(admin, "cashier", limits={"tokens": 200})
    published(admin, "support", handoffs=["cashier"])
    token = issuer.token(tenant_id=tenant, subject=f"user:{uuid4()}", role="member")
    headers = {"Authorization": f"Bearer {token}"}
    message = "Slowly [sandbox: call=transfer_to_cashier, tokens=600, rate=20/s]"
    process = ServiceProcess(fork_server(REPLICA), tmp_path / "log").start(
        settings, MARKS=str(tmp_path / "m")
    )
    with process as lost, contextlib.ExitStack() as stack:
        client = stack.enter_context(httpx.Client(headers=headers, timeout=60, verify=NO_AUTHORITIES))
        run = client.post(f"{lost.url}{RUNS}", json={"message": message, "agent_type": "support"}).json()
        with client.stream("GET", f"{lost.url}{RUNS}/{run['id']}/events") as stream:
            next(event for event in events(stream) if event.type == "message.delta")
        lost.kill()
        other = stack.enter_context(serving(create_app(settings)))
        own = httpx.Client(base_url=other, headers=headers, timeout=60, verify=NO_AUTHORITIES)
        run = wait_until_finished(stack.enter_context(own), run)
    assert end_of(run) == ("cashier", "token_budget_exceeded")
