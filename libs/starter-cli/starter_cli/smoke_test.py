"""One real turn of conversation through the gateway, in front of the operator's eyes."""

import time
from collections.abc import Callable, Mapping
from typing import Any

import httpx
from rich.console import Console

from starter_cli import billing
from starter_cli.errors import Failure
from starter_cli.events import TERMINAL, RunEvent
from starter_cli.gateway import GatewayClient, UnexpectedResponse
from starter_cli.progress import print_line
from starter_cli.stack import Stack

MESSAGE = "What time is it, and can you review this Python function? def add(a, b): return a - b"
# The reply is kept before its end is told; its usage reaches the ledger as an event, after.
LEDGER_SECONDS = 20
POLL_SECONDS = 0.1


def run(stack: Stack, console: Console) -> None:
    """Sign in, talk, and check that all of it was kept and counted; raises Failure."""
    try:
        with GatewayClient(stack.gateway_url) as gateway:
            gateway.sign_in(stack.owner)
            runs_before = gateway.usage()["runs"]
            last_event = stream_turn(gateway, console)
            check_conversation(gateway, last_event.data["conversation_id"])
            check_ledger(gateway, runs_before)
            entitlements = gateway.entitlements() if billing.is_enabled(stack.layout) else None
    except UnexpectedResponse as error:
        raise Failure("first turn", str(error), stack.data_dir.log("chat-agent")) from error
    except httpx.HTTPError as error:
        reason = f"the connection to the gateway broke: {str(error) or 'no answer in time'}"
        raise Failure("first turn", reason, stack.data_dir.log("gateway")) from error
    print_line(console, "✓ kept in the conversation, counted in the usage ledger", "green")
    if entitlements:
        print_plan(entitlements, console)


def stream_turn(gateway: GatewayClient, console: Console) -> RunEvent:
    """Send the message, print the events as they come, and return the last one."""
    print_line(console, f"\nyou: {MESSAGE}\n", "bold")
    started_at, first_token = time.monotonic(), None
    last = None
    with gateway.chat(MESSAGE) as events:
        for last in events:
            if last.type == "message.delta" and first_token is None:
                first_token = time.monotonic() - started_at
            print_event(last, console)
    if last is None or last.type not in TERMINAL:
        raise UnexpectedResponse("the stream ended before the run did")
    if last.type != "run.completed":
        raise UnexpectedResponse(f"{last.type}: {last.data.get('code')}, {last.data.get('detail')}")
    print_summary(last, first_token, time.monotonic() - started_at, console)
    return last


def print_event(event: RunEvent, console: Console) -> None:
    """Print one event, if it means something to a reader."""
    if format_ := FORMATS.get(event.type):
        style, words = format_
        console.print(words(event.data), style=style, end="", highlight=False, markup=False, soft_wrap=True)
    elif event.type == "item.completed" and event.data["item"]["kind"] == "message":
        console.print("\n")


def print_summary(event: RunEvent, first_token: float | None, seconds: float, console: Console) -> None:
    """Print the tokens, handoffs and times of the turn."""
    usage = event.data["usage"]
    handoffs = " → ".join(event.data["handoffs"]) or "none"
    print_line(
        console,
        f"usage  {usage['input_tokens']} tokens in, {usage['output_tokens']} out · handoffs: {handoffs} · "
        f"first token after {first_token or seconds:.2f} s, all after {seconds:.2f} s",
        "dim",
    )


def print_plan(entitlements: Mapping[str, Any], console: Console) -> None:
    """Print the tenant's plan, and what of it is used in this period."""
    used = {each["feature"]: each["used"] for each in entitlements["features"]}
    print_line(
        console,
        f"plan   {entitlements['plan_code']} · used in this period: {used['messages']} messages, "
        f"{used['input_tokens']} tokens in, {used['output_tokens']} out",
        "dim",
    )


def check_conversation(gateway: GatewayClient, conversation_id: str) -> None:
    """Verify that both messages of the turn were stored."""
    roles = [message["role"] for message in gateway.conversation(conversation_id)["messages"]]
    if not {"user", "assistant"} <= set(roles):
        raise UnexpectedResponse(f"the conversation holds {roles or 'nothing'} instead of both messages")


def check_ledger(gateway: GatewayClient, runs_before: int) -> None:
    """Verify that the run and its tokens reach the usage ledger."""

    def is_counted() -> bool:
        totals = gateway.usage()
        return bool(totals["runs"] > runs_before and totals["output_tokens"])

    deadline = time.monotonic() + LEDGER_SECONDS
    while not is_counted():
        if time.monotonic() > deadline:
            raise UnexpectedResponse(
                f"the usage of the turn is not in the ledger after {LEDGER_SECONDS} seconds"
            )
        time.sleep(POLL_SECONDS)


def format_tool_call(data: Mapping[str, Any]) -> str:
    """Return the line of a tool call; that of an agent that is a tool is indented, with its name."""
    before = f"    {data['agent']}: " if "parent_call_id" in data else ""
    return f"{before}⚙ {data['name']}({data['arguments'] if data['arguments'] != '{}' else ''})\n"


def format_tool_output(data: Mapping[str, Any]) -> str:
    """Return the output of a tool on one line."""
    before = "    " if "parent_call_id" in data else ""
    return f"{before}  = {' '.join(str(data['output']).split())[:200]}\n"


# Each with its style, and how it is put.
FORMATS: Mapping[str, tuple[str, Callable[[Mapping[str, Any]], str]]] = {
    "run.started": ("dim", lambda data: f"{data['agent']} ({data['model']})\n"),
    "agent.changed": ("bold magenta", lambda data: f"→ handoff: {data['from']} → {data['to']}\n"),
    "tool.called": ("cyan", format_tool_call),
    "tool.output": ("cyan", format_tool_output),
    "reasoning.delta": ("dim italic", lambda data: str(data["delta"])),
    "message.delta": ("none", lambda data: str(data["delta"])),
}
