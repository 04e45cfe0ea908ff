"""Webhooks and usage records while the service, Redis and Postgres are killed in turn."""

import asyncio
import json
import random
import shutil
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
from rich.console import Console
from sandbox.stripe.app import create_stripe
from starter_cli import service_shell, signals
from starter_cli.stack import Stack
from stripe import StripeClient, WebhookSignature
from testkit.live_server import serving

from scripts.chaos import billing_checks
from scripts.chaos.clients import Client
from scripts.chaos.faults import Fault, inject_all
from scripts.chaos.progress import ProgressLog
from scripts.chaos.stripe_history import make_history

SERVICE = "billing-webhook"
FAULTS = (Fault("kill", SERVICE), Fault("kill", "valkey"), Fault("kill", "postgres"))
DUPLICATES, DROPPED = 0.2, 0.05
CONCURRENCY = 16
BATCH = 100
# Every so many records are reported one at a time.
SINGLES_EVERY = 10
RETRY_SECONDS = 0.5
FEATURE = "input_tokens"
UNLIMITED = '{"reads_per_person": 1000000, "writes_per_person": 1000000}'


@dataclass(frozen=True)
class BillingPlan:
    """What is to be done."""

    webhooks: int = 5_000
    usage: int = 20_000
    pause: float = 8.0
    timeout: int = 900
    keep: bool = False


@dataclass
class Outcome:
    """What was sent, and how often it was refused for now."""

    sent: Counter[str] = field(default_factory=Counter)
    refusals: Counter[str] = field(default_factory=Counter)


def main(plan: BillingPlan, console: Console) -> int:
    """Do it on a stack of its own, and give the exit status."""
    data = Path(tempfile.mkdtemp(prefix="acme-chaos-"))
    # As root, Postgres is somebody else, who must get through.
    data.chmod(0o711)
    progress = ProgressLog(console)
    try:
        with (
            signals.interrupt_once(),
            serving(create_stripe()) as stripe_url,
            build_stack(data, stripe_url, progress) as stack,
        ):
            progress.print_line(f"the stack is up at {stack.gateway_url}; logs in {stack.data_dir.logs}")
            return 0 if asyncio.run(run_workload(stack, stripe_url, plan, progress)) else 1
    except KeyboardInterrupt:
        return 130
    finally:
        if not plan.keep:
            shutil.rmtree(data)


def build_stack(data: Path, stripe_url: str, progress: ProgressLog) -> Stack:
    """Make a stack with billing on, whose Stripe is ours and stays."""
    billing = {
        "ENABLE_BILLING": "true",
        "STRIPE_SECRET_KEY": "sk_test_sandbox",
        "STRIPE_API_BASE": stripe_url,
        "STRIPE_WEBHOOKS_PER_MINUTE": "1000000",
        "BILLING_LIMITS": UNLIMITED,
    }
    return Stack(data, on_progress=progress.on_progress, settings={SERVICE: billing})


async def run_workload(stack: Stack, stripe_url: str, plan: BillingPlan, progress: ProgressLog) -> bool:
    """Send everything while faults happen, print the figures, and return whether nothing was lost."""
    stripe = StripeClient("sk_test_sandbox", base_addresses={"api": stripe_url})
    history = await asyncio.to_thread(make_history, stripe, plan.webhooks)
    records = [make_record(number) for number in range(plan.usage)]
    progress.print_line(f"Stripe has {len(history)} events; sending them, and {plan.usage} usage records")
    outcome, began = Outcome(), time.monotonic()
    async with Client(stack.gateway_url, stack.owner) as client, asyncio.timeout(plan.timeout):
        await client.sign_in()
        async with asyncio.TaskGroup() as group:
            group.create_task(inject_all(stack, FAULTS, plan.pause, progress))
            group.create_task(send_webhooks(stack, client.http, history, outcome))
            group.create_task(send_usage(client, records, outcome))
        progress.print_line(
            f"all sent after {time.monotonic() - began:.0f} seconds; waiting for what is open"
        )
        findings = await billing_checks.drained(stack, history)
        await asyncio.to_thread(run_command, stack, "backfill")
        findings = await billing_checks.drained(stack, history)
        drift = await asyncio.to_thread(run_command, stack, "reconcile")
        findings |= await billing_checks.usage(stack, client.tenant_id, records)
    return report(progress.console, outcome, findings, drift)


def make_record(number: int) -> dict[str, Any]:
    """Make a usage record."""
    return {"feature_key": FEATURE, "quantity": number % 7 + 1, "idempotency_key": f"chaos-{uuid4()}"}


def deliveries(history: Sequence[Mapping[str, Any]], outcome: Outcome) -> list[Mapping[str, Any]]:
    """Drop some events, double some, and mix all."""
    sent = []
    for event in history:
        if random.random() < DROPPED:  # noqa: S311  # no secret
            outcome.sent["webhooks dropped"] += 1
            continue
        sent.append(event)
        if random.random() < DUPLICATES:  # noqa: S311  # no secret
            outcome.sent["webhooks doubled"] += 1
            sent.append(event)
    random.shuffle(sent)
    return sent


async def send_webhooks(
    stack: Stack, http: httpx.AsyncClient, history: Sequence[Mapping[str, Any]], outcome: Outcome
) -> None:
    """Deliver events as Stripe does: again until they are taken."""
    secret = str(service_shell.environment_of(stack.data_dir, SERVICE)["STRIPE_WEBHOOK_SECRET"])
    waiting = iter(deliveries(history, outcome))

    async def deliver() -> None:
        for event in waiting:
            body = json.dumps(event, default=str)
            while not await post_webhook(http, body, secret, outcome):  # noqa: ASYNC110  # as Stripe does
                await asyncio.sleep(RETRY_SECONDS)
            outcome.sent["webhooks"] += 1

    await asyncio.gather(*(deliver() for _ in range(CONCURRENCY)))


async def post_webhook(http: httpx.AsyncClient, body: str, secret: str, outcome: Outcome) -> bool:
    """Send an event once, signed now, and return whether it was taken."""
    signature = WebhookSignature.generate_signature_header(body, secret, int(time.time()))
    headers = {"Content-Type": "application/json", "Stripe-Signature": signature, "Authorization": ""}
    return await is_taken(http, "/webhooks/stripe", body, headers, outcome)


async def send_usage(client: Client, records: Sequence[Mapping[str, Any]], outcome: Outcome) -> None:
    """Report usage, some of it one record at a time and the rest in batches, again until it is taken."""
    path = f"/api/v1/billing/tenants/{client.tenant_id}/usage"
    waiting = iter(requests_of(records, path))

    async def send() -> None:
        for target, body, number in waiting:
            headers = {"Content-Type": "application/json"}
            while not await is_taken(client.http, target, body, headers, outcome):
                await asyncio.sleep(RETRY_SECONDS)
                # Auth may be away, too.
                with suppress(httpx.HTTPError):
                    await client.sign_in()
            outcome.sent["usage records"] += number

    await asyncio.gather(*(send() for _ in range(CONCURRENCY // 4)))


def requests_of(records: Sequence[Mapping[str, Any]], path: str) -> Iterator[tuple[str, str, int]]:
    """Yield path, body and number of records of each request."""
    yield from ((path, json.dumps(record), 1) for record in records[::SINGLES_EVERY])
    rest = [record for number, record in enumerate(records) if number % SINGLES_EVERY]
    for first in range(0, len(rest), BATCH):
        batch = rest[first : first + BATCH]
        yield f"{path}/batch", json.dumps({"items": batch}), len(batch)


async def is_taken(
    http: httpx.AsyncClient, path: str, body: str, headers: Mapping[str, str], outcome: Outcome
) -> bool:
    """Send a request, and return whether it succeeded; count why not."""
    try:
        answer = await http.post(path, content=body, headers=dict(headers))
    except httpx.HTTPError as error:
        outcome.refusals[type(error).__name__] += 1
        return False
    if answer.is_success:
        return True
    if answer.is_client_error and answer.status_code not in {401, 429}:
        raise RuntimeError(f"{path} answers {answer.status_code}: {answer.text}")
    outcome.refusals[str(answer.status_code)] += 1
    return False


def run_command(stack: Stack, command: str) -> str:
    """Run an operator's command at the stack, and return its last line."""
    variables = dict(service_shell.environment_of(stack.data_dir, SERVICE))
    argv = ["python", "-m", "billing_webhook", "stripe", command]
    done = subprocess.run(argv, env=variables, capture_output=True, text=True, check=False)  # noqa: S603
    return (done.stdout.strip() or done.stderr.strip()).rpartition("\n")[2]


def report(console: Console, outcome: Outcome, findings: Mapping[str, int], drift: str) -> bool:
    """Print the figures, and return whether nothing is wrong."""
    for title, counts in (("sent", outcome.sent), ("refused for now", outcome.refusals)):
        amounts = ", ".join(f"{number} {name}" for name, number in counts.items()) or "never"
        console.print(f"{title:16} {amounts}")
    console.print(f"{'at Stripe':16} {drift}")
    wrong = {name: number for name, number in findings.items() if number}
    for name, number in findings.items():
        console.print(f"{name:40} {number}", style="red" if number else "")
    return not wrong and drift.startswith("0 ")
