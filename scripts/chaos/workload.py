"""Many runs heard at once, while parts of the stack are killed or stand still."""

import asyncio
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
from scripts.chaos.clients import Client, Listener
from scripts.chaos.faults import Fault, happening
from scripts.chaos.progress import Progress

FAULTS = (
    Fault("kill", "chat-agent"),
    Fault("freeze", "chat-agent-2"),
    Fault("kill", "conversation"),
    Fault("kill", "valkey"),
    Fault("kill", "chat-agent-2"),
    Fault("kill", "postgres"),
    Fault("freeze", "chat-agent"),
)
# So many clients begin in a second: a crowd, and not all in the same moment.
ARRIVALS = 25
# The sandbox needs so many tokens to get as far as to quote what it was told.
FEWEST_TOKENS = 100
# Every so many runs call a tool.
TOOLS_EVERY = 5


@dataclass(frozen=True)
class Plan:
    """What is to be done."""

    runs: int = 200
    seconds: int = 80
    rate: float = 2.0
    faults: Sequence[Fault] = FAULTS
    pause: float = 12.0
    timeout: int = 300
    keep: bool = False


def main(plan: Plan, console: Console) -> int:
    """Do it on a stack of its own, and give the exit status."""
    data = Path(tempfile.mkdtemp(prefix="acme-chaos-"))
    # As root, Postgres is somebody else, who must get through.
    data.chmod(0o711)
    progress = Progress(console)
    try:
        with signals.once(), stack_for(plan, data, progress) as stack:
            progress.say(f"the stack is up at {stack.gateway_url}; logs in {stack.folders.logs}")
            return 0 if asyncio.run(attack(stack, plan, progress)) else 1
    except KeyboardInterrupt:
        return 130
    finally:
        if not plan.keep:
            shutil.rmtree(data)


def stack_for(plan: Plan, data: Path, progress: Progress) -> Stack:
    """Make a stack with two chat-agents and a slow model, which lets one person do as much as they like."""
    limits = {
        "CHAT_LIMITS": '{"reads_per_person": 1000000, "writes_per_person": 1000000}',
        "CHAT_STREAM_RATE_LIMIT_PER_MINUTE": "1000000",
        "CHAT_STREAM_CONCURRENT_LIMIT": "1000000",
        "CHAT_TENANT_STREAM_RATE_LIMIT_PER_MINUTE": "1000000",
        "CHAT_TENANT_STREAM_CONCURRENT_LIMIT": "1000000",
        "CHAT_RESUME_RATE_LIMIT_PER_MINUTE": "1000000",
        "CHAT_RESUME_CONCURRENT_LIMIT": "1000000",
    }
    return Stack(
        data,
        tell=progress.heard,
        replicas={"chat-agent": 2},
        settings={"chat-agent": limits},
        tokens_per_second=plan.rate,
    )


async def attack(stack: Stack, plan: Plan, progress: Progress) -> bool:
    """Have runs heard while faults happen; prints what came of it, and tells whether nothing was lost."""
    async with Client(stack.gateway_url, stack.owner) as client:
        await client.sign_in()
        listeners = [Listener(client, message(plan, number)) for number in range(plan.runs)]
        with suppress(TimeoutError):
            async with (
                asyncio.timeout(plan.timeout),
                progress.line(lambda: standing(listeners)),
                happening(stack, plan.faults, plan.pause, progress),
                asyncio.TaskGroup() as group,
            ):
                for number, listener in enumerate(listeners):
                    group.create_task(begin(listener, number / ARRIVALS))
        progress.say(f"heard: {standing(listeners)}")
        runs = await verification.gather(client, stack.sandbox_url, listeners)
        return report.print_all(progress.console, runs, await ledger.read(client, runs))


async def begin(listener: Listener, wait: float) -> None:
    """Have a client come in its turn."""
    await asyncio.sleep(wait)
    await listener.listen()


def message(plan: Plan, number: int) -> str:
    """Write what nobody else says: the model quotes it, and answers for half of the time to all of it."""
    longest = plan.seconds * plan.rate
    tokens = max(FEWEST_TOKENS, int(random.uniform(longest / 2, longest)))  # noqa: S311  # no secret
    mark = f"This is message {number} of {plan.runs}, marked {random.getrandbits(32):08x}."
    asked = " What time is it?" if number % TOOLS_EVERY == 0 else ""
    return f"{mark}{asked} [sandbox: tokens={tokens}]"


def standing(listeners: Sequence[Listener]) -> str:
    """Say how far the clients are."""
    begun = sum(bool(listener.run_id) for listener in listeners)
    over = sum(listener.is_over for listener in listeners)
    breaks = sum(listener.breaks for listener in listeners)
    events = sum(len(listener.events) for listener in listeners)
    return f"{begun} runs begun, {over} over, {breaks} connections broken, {events} events heard"
