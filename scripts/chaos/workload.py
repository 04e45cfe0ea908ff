"""Many runs streamed at once, while parts of the stack are killed or stand still."""

import asyncio
import json
import random
import shutil
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from starter_cli import signals
from starter_cli.stack import Stack

from scripts.chaos import ledger, report, verification
from scripts.chaos.clients import Client, RunClient
from scripts.chaos.faults import Fault, injecting
from scripts.chaos.kinds import Kind, kind_of
from scripts.chaos.progress import ProgressLog
from scripts.chaos.tool_servers import ToolServers

FAULTS = (
    Fault("kill", "chat-agent"),
    Fault("freeze", "chat-agent-2"),
    Fault("kill", "conversation"),
    Fault("kill", "valkey"),
    Fault("kill", "chat-agent-2"),
    Fault("kill", "postgres"),
    Fault("flush", "valkey"),
    Fault("refuse-writes", "postgres"),
    Fault("stop", "conversation"),
    Fault("freeze", "chat-agent"),
)
# So many clients begin in a second: a crowd, and not all in the same moment.
ARRIVALS = 25
# The sandbox needs so many tokens to get as far as to quote what it was told.
MIN_TOKENS = 100
# For which the model may be silent in the middle of an answer; the sandbox speaks more slowly than others.
SILENT_SECONDS = 5


@dataclass(frozen=True)
class Plan:
    """What is to be done."""

    runs: int = 200
    seconds: int = 150
    rate: float = 2.0
    faults: Sequence[Fault] = FAULTS
    pause: float = 8.0
    timeout: int = 400
    keep: bool = False


def main(plan: Plan, console: Console) -> int:
    """Do it on a stack of its own, and give the exit status."""
    data = Path(tempfile.mkdtemp(prefix="acme-chaos-"))
    # As root, Postgres is somebody else, who must get through.
    data.chmod(0o711)
    progress = ProgressLog(console)
    try:
        with (
            signals.interrupt_once(),
            ToolServers().serving() as servers,
            build_stack(plan, data, progress, servers) as stack,
        ):
            progress.print_line(f"the stack is up at {stack.gateway_url}; logs in {stack.data_dir.logs}")
            return 0 if asyncio.run(run_workload(stack, plan, progress, servers)) else 1
    except KeyboardInterrupt:
        return 130
    finally:
        if not plan.keep:
            shutil.rmtree(data)


def build_stack(plan: Plan, data: Path, progress: ProgressLog, servers: ToolServers) -> Stack:
    """Make a stack with two chat-agents and a slow model, which lets one person do as much as they like."""
    limits = {
        "CHAT_LIMITS": '{"reads_per_person": 1000000, "writes_per_person": 1000000}',
        "CHAT_STREAM_RATE_LIMIT_PER_MINUTE": "1000000",
        "CHAT_STREAM_CONCURRENT_LIMIT": "1000000",
        "CHAT_TENANT_STREAM_RATE_LIMIT_PER_MINUTE": "1000000",
        "CHAT_TENANT_STREAM_CONCURRENT_LIMIT": "1000000",
        "CHAT_RESUME_RATE_LIMIT_PER_MINUTE": "1000000",
        "CHAT_RESUME_CONCURRENT_LIMIT": "1000000",
        "MODEL_BETWEEN_TOKENS_TIMEOUT_SECONDS": str(SILENT_SECONDS),
        "TOOL_PRIVATE_HOSTS": json.dumps(servers.hosts),
    }
    return Stack(
        data,
        on_progress=progress.on_progress,
        replicas={"chat-agent": 2},
        settings={"chat-agent": limits},
        tokens_per_second=plan.rate,
    )


async def run_workload(stack: Stack, plan: Plan, progress: ProgressLog, servers: ToolServers) -> bool:
    """Stream runs while faults happen, print the report, and return whether nothing was lost."""
    async with Client(stack.gateway_url, stack.owner) as client:
        await client.sign_in()
        await servers.register(client.http)
        clients = [build_client(client, plan, number) for number in range(plan.runs)]
        flushes: list[float] = []
        with suppress(TimeoutError):
            async with (
                asyncio.timeout(plan.timeout),
                progress.line(lambda: describe_progress(clients)),
                injecting(stack, plan.faults, plan.pause, progress, flushes),
                asyncio.TaskGroup() as group,
            ):
                for number, run_client in enumerate(clients):
                    group.create_task(start_client(run_client, number / ARRIVALS))
        progress.print_line(f"received: {describe_progress(clients)}")
        runs = await verification.collect(client, stack.sandbox_url, clients, servers.calls, flushes)
        return report.print_report(progress.console, runs, await ledger.read_ledger(client, runs))


async def start_client(run_client: RunClient, wait: float) -> None:
    """Start a client in its turn."""
    await asyncio.sleep(wait)
    await run_client.stream_until_end()


def build_client(client: Client, plan: Plan, number: int) -> RunClient:
    """Make a client that says what nobody else says."""
    kind, mark = kind_of(number), f"{random.getrandbits(32):08x}"
    return RunClient(client, build_message(plan, number, kind, mark), kind, mark)


def build_message(plan: Plan, number: int, kind: Kind, mark: str) -> str:
    """Write what the model quotes, and answers for half of the time to all of it."""
    max_tokens = plan.seconds * plan.rate
    tokens = max(MIN_TOKENS, int(random.uniform(max_tokens / 2, max_tokens)))  # noqa: S311  # no secret
    about = f"This is message {number} of {plan.runs}, marked {mark}."
    return f"{about}{kind.message(mark)} [sandbox: tokens={tokens}]"


def describe_progress(clients: Sequence[RunClient]) -> str:
    """Describe how far the clients are."""
    begun = sum(bool(run_client.run_id) for run_client in clients)
    over = sum(run_client.has_ended for run_client in clients)
    breaks = sum(run_client.breaks for run_client in clients)
    events = sum(len(run_client.events) for run_client in clients)
    return f"{begun} runs begun, {over} over, {breaks} connections broken, {events} events received"
