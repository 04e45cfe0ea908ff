"""A tool knows for whom it acts; every call is a row; and what fails is seen everywhere."""

import asyncio
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from importlib import import_module
from inspect import CORO_CLOSED, getcoroutinestate
from pkgutil import walk_packages
from typing import Any
from uuid import UUID, uuid4

import chat_agent
import httpx
import pytest
from agents import Agent, RunContextWrapper
from agents.exceptions import ModelBehaviorError, ToolTimeoutError
from chat_agent.agents import AGENTS
from chat_agent.agents.tool import GuardedTool, RunContext, agent_tool, tool
from chat_agent.errors import GuardrailTriggered, ToolFailed
from chat_agent.isolation import IN_RUN, create_task
from chat_agent.main import create_app
from chat_agent.runs.tool_errors import MESSAGES, tool_error_code
from chat_agent.settings import Settings
from chat_agent.tool_settings import ToolSettings, load_settings
from openai.types.responses import Response
from openai.types.responses.mcp_tool_call_error import McpToolExecutionError
from openai.types.responses.response_output_item import McpCall
from pydantic import Field
from pydantic_settings import SettingsConfigDict
from servicekit.errors import NotFound
from testkit.databases import query
from testkit.issuer import Issuer
from testkit.live_server import NO_AUTHORITIES, serving
from testkit.sse import events
from testkit.telemetry_capture import CapturedTelemetry

from .client_helpers import RUNS, STREAM, payloads_of, read_run, start_run, wait_until_finished

Json = dict[str, Any]
CANARY = "canary-of-a-tool"


class ShopSettings(ToolSettings):
    """Settings of the tools of these tests."""

    model_config = SettingsConfigDict(env_prefix="SHOP_")

    name: str = "none"
    shelves: int = Field(1, ge=1)


class UnreadySettings(ToolSettings):
    """Settings that are missing, or invalid."""

    model_config = SettingsConfigDict(env_prefix="UNREADY_")

    api_key: str
    shelves: int = 1


class Unwritable:
    """What has no text."""

    def __str__(self) -> str:
        raise RuntimeError(CANARY)


async def exit_process() -> None:
    sys.exit(3)


async def interrupt() -> None:
    raise KeyboardInterrupt


async def await_cancelled() -> None:
    task = asyncio.create_task(asyncio.sleep(3600))
    task.cancel()
    await task


class Halt(BaseException):
    """What no `except Exception` catches."""


class Unspeakable:
    """What ends a process when it is to be text."""

    def __str__(self) -> str:
        raise SystemExit(4)


async def return_unspeakable() -> Unspeakable:
    return Unspeakable()


async def close_generator() -> None:
    raise GeneratorExit


async def halt() -> None:
    raise Halt


async def exit_in_subtask() -> None:
    await asyncio.create_task(exit_process())


async def interrupt_in_group() -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(interrupt())
        group.create_task(asyncio.sleep(3600))


async def exit_in_thread() -> None:
    await asyncio.to_thread(sys.exit)


async def exit_unawaited() -> None:
    task = asyncio.create_task(exit_process())
    await asyncio.wait([task])
    assert task.exception() is None


async def exit_when_cancelled() -> None:
    async def work() -> None:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            sys.exit(5)

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    task.cancel()
    await task


async def return_unwritable() -> Unwritable:
    return Unwritable()


async def wait_forever() -> None:
    """Wait."""
    await asyncio.Event().wait()


LEAVE = {
    "exit": exit_process,
    "interrupt": interrupt,
    "cancelled": await_cancelled,
    "unwritable": return_unwritable,
    "unspeakable": return_unspeakable,
    "generator": close_generator,
    "halt": halt,
    "subtask": exit_in_subtask,
    "group": interrupt_in_group,
    "thread": exit_in_thread,
    "unawaited": exit_unawaited,
    "when_cancelled": exit_when_cancelled,
}


class Workshop:
    """An agent whose tools note how often they are called."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()

    def agents(self) -> list[Agent[RunContext]]:
        @tool()
        async def whoami(context: RunContextWrapper[RunContext]) -> str:
            """Return for whom this run works."""
            run = context.context
            shop = run.settings(ShopSettings)
            run.logger.info("looked around", extra={"shelves": shop.shelves})
            return json.dumps(
                {
                    "tenant": str(run.tenant_id),
                    "person": run.person_id,
                    "end_user": run.end_user,
                    "run": str(run.run_id),
                    "conversation": str(run.conversation_id),
                    "shop": [shop.name, shop.shelves],
                }
            )

        @tool()
        async def explode(text: str) -> str:
            """Raise an error that quotes what it was called with."""
            self.calls["explode"] += 1
            raise RuntimeError(f"{CANARY} {text}")

        @tool()
        async def decline() -> str:
            """Return why this cannot be done."""
            raise ToolFailed("The shop is closed today.")

        @tool(retries=2)
        async def stutter() -> str:
            """Answer at the third call."""
            self.calls["stutter"] += 1
            if self.calls["stutter"] < 3:
                raise ConnectionError("not yet")
            return "at last"

        @tool(needs_approval={"properties": {"amount": {"minimum": 100}}}, idempotent=False)
        async def refund(amount: int) -> str:
            """Refund an amount."""
            self.calls[f"refund {amount}"] += 1
            return f"refunded {amount}"

        @tool(audience="members")
        async def staff_only() -> str:
            """Return what only staff may read."""
            return "the code of the safe"

        @tool()
        async def leave(how: str) -> Any:
            """Do what ends more than a call, or what cannot be written."""
            return await LEAVE[how]()

        @tool()
        async def unready(context: RunContextWrapper[RunContext]) -> str:
            """Read settings that are not there."""
            return str(context.context.settings(UnreadySettings))

        tools: list[Any] = [whoami, explode, decline, stutter, refund, staff_only, leave, unready]
        keeper = Agent[RunContext](
            name="keeper", handoff_description="Keeps the shop.", instructions="You keep.", tools=tools
        )
        buyer = Agent[RunContext](name="buyer", instructions="You are a buyer.", tools=[agent_tool(keeper)])
        return [keeper, buyer]


@pytest.fixture(autouse=True)
def _unread_settings() -> None:
    load_settings.cache_clear()


@pytest.fixture(autouse=True)
def workshop(monkeypatch: pytest.MonkeyPatch) -> Workshop:
    workshop = Workshop()
    for agent in workshop.agents():
        monkeypatch.setitem(AGENTS, agent.name, agent)
    return workshop


def call(client: httpx.Client, name: str, arguments: str = "", **more: Any) -> Json:
    message = f"Go {arguments} [sandbox: call={name}]"
    return wait_until_finished(client, start_run(client, message, **{"agent_type": "keeper", **more}))


def calls_of(client: httpx.Client, run: Json) -> list[Json]:
    answer = client.get(f"{RUNS}/{run['id']}/tool-calls")
    assert answer.status_code == 200, answer.text
    rows: list[Json] = answer.json()
    return rows


def stream(client: httpx.Client, message: str) -> list[Any]:
    with client.stream("POST", STREAM, json={"message": message, "agent_type": "keeper"}) as answer:
        return list(events(answer))


def test_a_tool_knows_for_whom_it_acts(
    person: Callable[..., httpx.Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP_NAME", "Corner")
    monkeypatch.setenv("SHOP_SHELVES", "7")
    tenant, user = uuid4(), uuid4()
    received = stream(person(tenant, f"user:{user}"), "[sandbox: call=whoami]")
    (output,) = payloads_of(received, "tool.output")
    assert json.loads(output["output"]) == {
        "tenant": str(tenant),
        "person": str(user),
        "end_user": None,
        "run": output["run_id"],
        "conversation": output["conversation_id"],
        "shop": ["Corner", 7],
    }


def test_a_tool_knows_the_end_user(person: Callable[..., httpx.Client]) -> None:
    application = person(uuid4(), "service:ak.shop")
    application.headers["Acme-End-User"] = "customer 7"
    (output,) = payloads_of(stream(application, "[sandbox: call=whoami]"), "tool.output")
    seen = json.loads(output["output"])
    assert (seen["person"], seen["end_user"]) == (None, "customer 7")


def test_a_tool_for_members_is_not_offered_to_end_users(person: Callable[..., httpx.Client]) -> None:
    application = person(uuid4(), "service:ak.shop")
    assert payloads_of(stream(application, "[sandbox: call=staff_only]"), "tool.output")
    application.headers["Acme-End-User"] = "customer 7"
    assert not payloads_of(stream(application, "[sandbox: call=staff_only]"), "tool.output")


def test_a_call_is_a_row(ann: httpx.Client) -> None:
    run = call(ann, "whoami")
    (row,) = calls_of(ann, run)
    assert (row["name"], row["agent"], row["status"], row["attempt"]) == ("whoami", "keeper", "completed", 1)
    assert row["output_bytes"] > 0
    assert row["duration_ms"] >= 0
    assert row["begun_at"] <= row["ended_at"]
    assert (row["error"], row["error_detail"], row["approved_by"]) == (None, None, None)


def test_secrets_in_arguments_are_masked(ann: httpx.Client, settings: Settings) -> None:
    run = call(ann, "explode", "text=sk-abcdefghijklmnop")
    (row,) = calls_of(ann, run)
    assert "[masked]" in row["arguments"]
    stored = query(settings.database_url.get_secret_value(), "select arguments::text from tool_calls")
    assert not [one for one in stored if "sk-abcdefghijklmnop" in one["arguments"]]


def test_nobody_else_reads_the_calls_of_a_run(person: Callable[..., httpx.Client], ann: httpx.Client) -> None:
    run = call(ann, "whoami")
    for other in (person(), person(uuid4())):
        assert other.get(f"{RUNS}/{run['id']}/tool-calls").status_code == 404


@pytest.mark.parametrize("how", LEAVE)
def test_whatever_a_tool_does_costs_its_call_alone(ann: httpx.Client, how: str) -> None:
    run = call(ann, "leave", f"how={how}")
    (row,) = calls_of(ann, run)
    assert (run["status"], row["status"], row["error"]) == ("completed", "failed", "internal_error")
    assert call(ann, "whoami")["status"] == "completed"


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, GeneratorExit, Halt])
def test_an_agent_whose_instructions_end_a_process_fails_its_run_alone(
    ann: httpx.Client, error: type[BaseException]
) -> None:
    def instructions(_context: Any, _agent: Any) -> str:
        raise error

    AGENTS["keeper"].instructions = instructions
    run = wait_until_finished(ann, start_run(ann, "Hello", agent_type="keeper"))
    assert (run["status"], run["error_code"]) == ("failed", "internal_error")
    assert wait_until_finished(ann, start_run(ann, "Hello"))["status"] == "completed"


async def test_a_task_that_is_cancelled_before_it_starts_leaves_nothing_behind() -> None:
    IN_RUN.set(True)
    task = create_task(asyncio.get_running_loop(), exit_process())
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert getcoroutinestate(task.get_coro()) == CORO_CLOSED  # type: ignore[arg-type]  # as anyio reads it


def test_a_cancelled_run_is_no_failure_of_its_tool(ann: httpx.Client) -> None:
    limited = tool(seconds=0.01)(wait_forever)
    assert isinstance(limited.on_invoke_tool, GuardedTool)
    AGENTS["keeper"].tools.append(limited)
    (row,) = calls_of(ann, call(ann, "wait_forever"))
    assert (row["status"], row["error"]) == ("timed_out", "tool_timed_out")


def test_the_log_names_the_settings_that_are_missing_or_invalid_and_no_value(
    ann: httpx.Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("UNREADY_SHELVES", CANARY)
    (row,) = calls_of(ann, call(ann, "unready"))
    assert row["status"] == "failed"
    (line,) = [one for one in caplog.records if one.message == "settings of a tool are invalid"]
    assert vars(line)["problems"] == ["UNREADY_API_KEY: missing", "UNREADY_SHELVES: int_parsing"]
    assert CANARY not in str(vars(line))


def test_a_failed_call_is_marked_in_the_stream_and_in_its_row(ann: httpx.Client) -> None:
    received = stream(ann, "Go text=hello [sandbox: call=explode]")
    (output,) = payloads_of(received, "tool.output")
    assert (output["failed"], "An error occurred" in output["output"]) == (True, True)
    assert CANARY not in json.dumps([event.data for event in received])
    (row,) = calls_of(ann, {"id": output["run_id"]})
    assert (row["status"], row["error"]) == ("failed", "internal_error")
    assert "operator's log" in row["error_detail"]
    assert "RuntimeError" not in json.dumps([row, *(event.data for event in received)])


def test_a_tool_says_why_it_cannot(ann: httpx.Client) -> None:
    (output,) = payloads_of(stream(ann, "[sandbox: call=decline]"), "tool.output")
    assert (output["output"], output["failed"]) == ("The shop is closed today.", True)


def test_an_output_without_failure_is_not_marked(ann: httpx.Client) -> None:
    (output,) = payloads_of(stream(ann, "[sandbox: call=whoami]"), "tool.output")
    assert "failed" not in output


def test_a_failed_call_is_marked_in_every_protocol(ann: httpx.Client) -> None:
    message = "Go text=hello [sandbox: call=explode]"
    user = {"role": "user", "content": message}
    chunks = ann.post(
        "/v1/chat/completions", json={"model": "keeper", "messages": [user], "stream": True}
    ).text
    assert '"failed":true' in chunks
    response = ann.post("/v1/responses", json={"model": "keeper", "input": message}).json()
    (item,) = [one for one in Response.model_validate(response).output if isinstance(one, McpCall)]
    assert (item.status, item.output) == ("failed", None)
    content = [{"type": "text", "text": "An error occurred while running the tool."}]
    assert item.error == McpToolExecutionError(type="mcp_tool_execution_error", content=content)
    ui = {
        "id": str(uuid4()),
        "agent_type": "keeper",
        "messages": [{"id": "1", "role": "user", "parts": [{"type": "text", "text": message}]}],
    }
    assert '"tool-output-error"' in ann.post("/api/v1/chat/ui", json=ui).text
    ag_ui = {
        "threadId": str(uuid4()),
        "runId": "r",
        "messages": [{"id": "1", **user}],
        "tools": [],
        "context": [],
        "state": {},
        "forwardedProps": {},
    }
    assert '"tool.failed"' in ann.post("/api/v1/agents/keeper/ag-ui", json=ag_ui).text


@pytest.fixture
def logged(
    settings: Settings, issuer: Issuer, captured_telemetry: CapturedTelemetry
) -> Iterator[httpx.Client]:
    """Return a client of a service whose log lines are captured."""
    received = type(settings).model_validate({**settings.model_dump(), **captured_telemetry.settings})
    headers = {"Authorization": f"Bearer {issuer.token(role='member', tenant_id=uuid4())}"}
    with (
        serving(create_app(received)) as url,
        httpx.Client(base_url=url, timeout=60, headers=headers, verify=NO_AUTHORITIES) as client,
    ):
        yield client


def test_a_failed_call_is_logged_with_its_traceback(
    logged: httpx.Client, captured_telemetry: CapturedTelemetry
) -> None:
    run = call(logged, "explode", "text=hello")
    lines = [json.loads(line) for line in captured_telemetry.logs.split("\n") if line.startswith("{")]
    (line,) = [one for one in lines if one["event"] == "tool call failed" and one["run_id"] == run["id"]]
    assert (line["tool"], line["error"]) == ("explode", "RuntimeError")
    assert "test_tools.py" in line["traceback"]
    assert "in explode" in line["traceback"]
    assert captured_telemetry.leaks(CANARY) == []


def test_the_lines_of_a_tool_have_the_ids_of_its_call(
    logged: httpx.Client, captured_telemetry: CapturedTelemetry
) -> None:
    run = call(logged, "whoami")
    lines = [json.loads(line) for line in captured_telemetry.logs.split("\n") if line.startswith("{")]
    (line,) = [one for one in lines if one["event"] == "looked around" and one["run_id"] == run["id"]]
    assert line["tenant_id"]
    assert (line["tool"], line["shelves"]) == ("whoami", 1)
    assert line["call_id"]


def test_a_call_that_may_be_repeated_is_retried(ann: httpx.Client, workshop: Workshop) -> None:
    run = call(ann, "stutter")
    assert "at last" in run["output"]
    assert workshop.calls["stutter"] == 3


def test_only_calls_that_may_be_repeated_can_have_retries() -> None:
    with pytest.raises(ValueError, match="cannot be retried"):
        tool(retries=1, idempotent=False)


def test_arguments_that_are_too_long_are_refused(ann: httpx.Client, workshop: Workshop, monkeypatch) -> None:
    monkeypatch.setattr("chat_agent.agents.tool.MAX_ARGUMENTS", 20)
    run = call(ann, "explode", f"text={'x' * 30}")
    assert "more than 20 characters" in run["output"]
    assert workshop.calls["explode"] == 0


def test_a_condition_over_the_arguments_decides_on_approval(ann: httpx.Client, workshop: Workshop) -> None:
    small = call(ann, "refund", "amount=99")
    assert (small["status"], workshop.calls["refund 99"]) == ("completed", 1)
    large = call(ann, "refund", "amount=100")
    assert (large["status"], workshop.calls["refund 100"]) == ("waiting", 0)


def test_edited_arguments_are_executed_and_recorded(ann: httpx.Client, workshop: Workshop) -> None:
    run = call(ann, "refund", "amount=500")
    (approval,) = run["approvals"]
    body = {"approve": True, "arguments": {"amount": 120}}
    assert ann.post(f"{RUNS}/{run['id']}/approvals/{approval['id']}", json=body).status_code == 200
    run = wait_until_finished(ann, read_run(ann, run))
    assert (workshop.calls["refund 120"], workshop.calls["refund 500"]) == (1, 0)
    assert "refunded 120" in run["output"]
    (row,) = calls_of(ann, run)
    assert json.loads(row["arguments"]) == {"amount": 120}
    assert row["approved_by"] == run["user_id"]
    (approval,) = run["approvals"]
    assert json.loads(approval["arguments"]) == {"amount": 500}
    assert json.loads(approval["edited_arguments"]) == {"amount": 120}


@pytest.mark.parametrize(
    ("arguments", "place"),
    [
        ({"amount": "a lot"}, "amount"),
        ({"amount": None}, "amount"),
        ({"amount": 120, "currency": "EUR"}, "the arguments"),
        ({"amont": 120}, "the arguments"),
    ],
    ids=str,
)
def test_edited_arguments_that_do_not_fit_decide_nothing(
    ann: httpx.Client, workshop: Workshop, arguments: dict[str, Any], place: str
) -> None:
    run = call(ann, "refund", "amount=500")
    (approval,) = run["approvals"]
    url = f"{RUNS}/{run['id']}/approvals/{approval['id']}"
    refused = ann.post(url, json={"approve": True, "arguments": arguments})
    assert (refused.status_code, refused.json()["code"]) == (422, "invalid_tool_arguments"), refused.text
    assert f"'refund' at {place}" in refused.json()["detail"]
    assert [one["status"] for one in read_run(ann, run)["approvals"]] == ["pending"]
    assert ann.post(url, json={"approve": True, "arguments": {"amount": 120}}).status_code == 200
    assert wait_until_finished(ann, read_run(ann, run))["status"] == "completed"
    assert (workshop.calls["refund 120"], workshop.calls["refund 500"]) == (1, 0)


def test_an_agent_as_a_tool_is_seen_and_the_conversation_stays(ann: httpx.Client) -> None:
    run = call(ann, "ask_keeper", "input='who am I [sandbox: call=whoami]'", agent_type="buyer")
    assert (run["status"], run["final_agent"], run["handoffs"]) == ("completed", "buyer", [])
    rows = {row["name"]: row["agent"] for row in calls_of(ann, run)}
    assert rows["ask_keeper"] == "buyer"


def test_calls_are_exported_and_erased_with_an_end_user(
    person: Callable[..., httpx.Client], settings: Settings
) -> None:
    application = person(uuid4(), "service:ak.shop")
    name = f"customer-{uuid4()}"
    application.headers["Acme-End-User"] = name
    run = call(application, "whoami")
    export = application.get("/api/v1/end-users", params={"name": name}).content
    exported = [json.loads(line) for line in export.splitlines()]
    (of_run,) = [one for one in exported if one["type"] == "run"]
    assert [one["name"] for one in of_run["called_tools"]] == ["whoami"]
    assert application.delete("/api/v1/end-users", params={"name": name}).is_success
    database = settings.database_url.get_secret_value()
    assert query(database, "select * from tool_calls where run_id = $1", UUID(run["id"])) == []


def test_every_failure_of_a_tool_has_a_code_with_a_message() -> None:
    for module in walk_packages(chat_agent.__path__, "chat_agent."):
        if not module.name.endswith("__main__"):
            import_module(module.name)

    def below(kind: type[ToolFailed]) -> Iterator[type[ToolFailed]]:
        yield kind
        for one in kind.__subclasses__():
            yield from below(one)

    codes = {kind.tool_error for kind in below(ToolFailed)}
    others = (ToolTimeoutError("slow", 1), ModelBehaviorError("bad"), RuntimeError("a secret"))
    codes |= {tool_error_code(error) for error in (*others, GuardrailTriggered(), NotFound())}
    assert {"tool_failed", "tool_timed_out", "internal_error"} < codes
    assert codes <= MESSAGES.keys()
