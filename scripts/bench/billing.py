"""Measure billing-webhook beside bare loops on the same Postgres: webhooks, usage, limits."""

import argparse
import asyncio
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from uuid import UUID, uuid4

import asyncpg  # type: ignore[import-untyped]  # it ships no types
from rich.console import Console
from rich.table import Table
from sandbox.embedded import Postgres, Valkey, free_port
from servicekit.http.client import HttpPool
from starter_cli import environment
from starter_cli.ports import HOST
from starter_cli.processes import Program
from stripe import WebhookSignature
from testkit.databases import Databases
from testkit.issuer import Issuer

from scripts.bench.limit_checks import LimitChecks, hit_rate
from scripts.bench.systems import running

SERVICE = Path(__file__).resolve().parents[2] / "services" / "billing-webhook"
SECRET = "whsec_of_the_benchmark"  # noqa: S105  # of nothing else
MANY = 100_000_000
KINDS = ("reads_per_person", "reads_per_tenant", "writes_per_person", "writes_per_tenant")
LIMITS = json.dumps(dict.fromkeys(KINDS, MANY))
CONNECTIONS = 10
BATCH = 1000
TENANTS = 50

Work = Callable[[int], Awaitable[None]]


@dataclass(frozen=True)
class Measured:
    """What a load has taken: in all, and each of its requests."""

    name: str
    each_ms: Sequence[float]
    seconds: float
    units: int

    @property
    def per_second(self) -> float:
        """How many events, records or checks in a second."""
        return self.units / self.seconds

    def percentile(self, percent: int) -> float:
        """Return how long all but the slowest requests took, in ms."""
        return statistics.quantiles(self.each_ms, n=100)[percent - 1]


@dataclass(frozen=True)
class Target:
    """The service that runs, and how to reach it."""

    url: str
    internal_url: str
    database_url: str
    issuer: Issuer
    http: HttpPool

    async def send(self, method: str, url: str, token: str, body: object = None) -> None:
        """Send a request; raises RuntimeError unless it is answered well."""
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        content = None if body is None else json.dumps(body).encode()
        answer = await self.http.exchange(method, url, headers, content)
        if answer.status >= 400:
            raise RuntimeError(f"{method} {url}: {answer.status} {answer.body[:200]!r}")


def main(words: Sequence[str] | None = None) -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(prog="python -m scripts.bench billing", description=__doc__)
    parser.add_argument("--requests", type=int, default=1000, help="requests of each load")
    parser.add_argument("--at-once", type=int, default=16, help="requests at the same time")
    options = parser.parse_args(words)
    with tempfile.TemporaryDirectory(prefix="acme-bench-") as name, Issuer() as issuer:
        folder = Path(name)
        folder.chmod(0o711)
        with service(folder, issuer) as target:
            print_table(asyncio.run(measure_all(target, options.requests, options.at_once)), hit_rate())


@contextmanager
def service(folder: Path, issuer: Issuer) -> Iterator[Target]:
    """Run billing-webhook as one process, with a durable Postgres and Redis of its own."""
    with (
        Postgres(folder / "postgres", free_port(), durable=True) as postgres,
        Valkey(folder / "valkey", free_port(), durable=True) as valkey,
    ):
        database_url = Databases(postgres.url).migrated(SERVICE)
        port, internal_port = free_port(), free_port()
        variables = {
            **environment.python_variables(),
            "ENVIRONMENT": "test",
            "DEBUG": "true",
            "DATABASE_URL": database_url,
            "REDIS_URL": valkey.url,
            "AUTH_ISSUER": issuer.issuer,
            "AUTH_JWKS_URL": issuer.jwks_url,
            "STRIPE_WEBHOOK_SECRET": SECRET,
            "ENABLE_BILLING": "true",
            "BILLING_LIMITS": LIMITS,
            "LOGGING_SINK": "none",
            "PORT": str(port),
            "INTERNAL_PORT": str(internal_port),
        }
        argv = [sys.executable, "-P", "-m", "billing_webhook.main"]
        program = Program("billing-webhook", argv, folder, variables, folder / "billing.log")
        internal_url = f"http://{HOST}:{internal_port}"
        with running(program, f"{internal_url}/readyz"):
            yield Target(f"http://{HOST}:{port}", internal_url, database_url, issuer, HttpPool())


def machine_tokens(target: Target, tenants: Sequence[UUID]) -> dict[UUID, str]:
    """Return a token for each tenant, of a machine: what a person reports is in the audit log, too."""
    machine = partial(
        target.issuer.service_token,
        "sa.meter.1",
        audience="acme-api",
        scope="billing:manage billing:read",
        role="admin",
    )
    return {tenant: machine(tenant_id=str(tenant)) for tenant in tenants}


async def measure_all(target: Target, requests: int, at_once: int) -> list[tuple[Measured, Measured | None]]:
    """Measure each load, with the bare loop that it is compared with."""
    pool = await asyncpg.create_pool(target.database_url, min_size=CONNECTIONS, max_size=CONNECTIONS)
    await pool.execute("create table bare (id text primary key, payload bytea, at timestamptz default now())")
    tenants = [uuid4() for _ in range(TENANTS)]
    await subscribe(pool, tenants)
    put = partial(measure, requests=requests, at_once=at_once)
    bare_webhooks = await put("bare: verify and insert", partial(bare_webhook, pool))
    bare_inserts = await put("bare: insert", partial(bare_insert, pool))
    bare_reads = await put("bare: select", partial(bare_select, pool))
    token = machine_tokens(target, tenants)
    service_token = target.issuer.service_token(
        "chat-agent", audience="billing-webhook", scope="billing:reserve"
    )
    try:
        return [
            (bare_webhooks, None),
            (await put("webhooks", partial(webhook, target)), bare_webhooks),
            (bare_inserts, None),
            (await put("usage, single", partial(usage, target, token, tenants)), bare_inserts),
            (await put("usage, one tenant", partial(usage, target, token, tenants[:1])), bare_inserts),
            (
                await measure(
                    f"usage, batches of {BATCH}",
                    partial(usage_batch, target, token, tenants),
                    requests=max(requests // 100, 2),
                    at_once=2,
                    units=BATCH,
                ),
                bare_inserts,
            ),
            (await put("reservations", partial(reserve, target, service_token, tenants)), bare_inserts),
            (
                await put("reservations, one tenant", partial(reserve, target, service_token, tenants[:1])),
                bare_inserts,
            ),
            (bare_reads, None),
            (await put("entitlement checks", partial(check, target, token, tenants)), bare_reads),
            *await measure_chat_agent(target, service_token, tenants, put, pool, bare_reads),
        ]
    finally:
        await pool.close()
        await target.http.aclose()


async def measure_chat_agent(  # noqa: PLR0913, PLR0917  # what is measured, and with what
    target: Target,
    token: str,
    tenants: Sequence[UUID],
    put: Callable[[str, Work], Awaitable[Measured]],
    pool: asyncpg.Pool,
    bare: Measured,
) -> list[tuple[Measured, Measured]]:
    """Measure chat-agent's checks before a run: of tenants without limits, and with a budget."""
    limited = [uuid4() for _ in tenants]
    await subscribe(pool, limited)
    await pool.executemany(
        'insert into budgets (id, tenant_id, scope, unit, "limit", interval, kind) '
        "values ($1, $2, 'tenant', 'messages', $3, 'month', 'hard')",
        [(uuid4(), tenant, MANY) for tenant in limited],
    )
    checks = partial(LimitChecks, target.http, target.internal_url, token)
    return [
        (await put("checks by chat-agent", checks(tenants).check), bare),
        (await put("starts by chat-agent, budget", checks(limited).start), bare),
    ]


async def subscribe(pool: asyncpg.Pool, tenants: Sequence[UUID]) -> None:
    """Assign tenants a plan whose soft limits let all through."""
    await pool.executemany(
        "insert into subscriptions (id, tenant_id, plan_code, status, seats, items) "
        "values ($1, $2, 'pro', 'active', 1, '[]')",
        [(uuid4(), tenant) for tenant in tenants],
    )


async def measure(name: str, work: Work, *, requests: int, at_once: int, units: int = 1) -> Measured:
    """Do some work so often, some of it at once, after a few times that do not count."""
    await asyncio.gather(*(work(-number - 1) for number in range(at_once)))
    numbers, each_ms = iter(range(requests)), list[float]()

    async def go_on() -> None:
        for number in numbers:
            began = time.perf_counter()
            await work(number)
            each_ms.append((time.perf_counter() - began) * 1000)

    began = time.perf_counter()
    await asyncio.gather(*(go_on() for _ in range(at_once)))
    return Measured(name, each_ms, time.perf_counter() - began, requests * units)


def signed_event() -> tuple[str, str, str]:
    """Return an event of Stripe: its id, its body and its signature."""
    event_id = f"evt_{uuid4().hex}"
    event = {"id": event_id, "object": "event", "type": "customer.created", "livemode": False}
    body = json.dumps({**event, "created": int(time.time()), "data": {"object": {"padding": "x" * 2000}}})
    return event_id, body, WebhookSignature.generate_signature_header(body, SECRET)


async def bare_webhook(pool: asyncpg.Pool, _: int) -> None:
    """Verify and insert an event, and nothing else."""
    event_id, body, signature = signed_event()
    WebhookSignature.verify_header(body, signature, SECRET, 300)
    await pool.execute("insert into bare (id, payload) values ($1, $2)", event_id, body.encode())


async def bare_insert(pool: asyncpg.Pool, _: int) -> None:
    """Insert a row."""
    await pool.execute("insert into bare (id, payload) values ($1, $2)", uuid4().hex, b"x" * 100)


async def bare_select(pool: asyncpg.Pool, _: int) -> None:
    """Read a row."""
    await pool.fetch("select id, payload from bare where id = $1", "none")


async def webhook(target: Target, _: int) -> None:
    """Deliver an event, as Stripe does."""
    _, body, signature = signed_event()
    headers = {"Content-Type": "application/json", "Stripe-Signature": signature}
    answer = await target.http.exchange("POST", f"{target.url}/webhooks/stripe", headers, body.encode())
    if answer.status != 202:
        raise RuntimeError(f"webhook: {answer.status} {answer.body[:200]!r}")


def a_report() -> dict[str, object]:
    """Make a report of usage."""
    return {"feature_key": "messages", "quantity": 1, "idempotency_key": uuid4().hex}


async def usage(target: Target, token: dict[UUID, str], tenants: Sequence[UUID], number: int) -> None:
    """Report usage once."""
    tenant = tenants[number % len(tenants)]
    await target.send(
        "POST", f"{target.url}/api/v1/billing/tenants/{tenant}/usage", token[tenant], a_report()
    )


async def usage_batch(target: Target, token: dict[UUID, str], tenants: Sequence[UUID], number: int) -> None:
    """Report usage a thousand times in one request."""
    tenant = tenants[number % len(tenants)]
    url = f"{target.url}/api/v1/billing/tenants/{tenant}/usage/batch"
    await target.send("POST", url, token[tenant], {"items": [a_report() for _ in range(BATCH)]})


async def reserve(target: Target, token: str, tenants: Sequence[UUID], number: int) -> None:
    """Reserve what a call of a run uses."""
    tenant = tenants[number % len(tenants)]
    url = f"{target.internal_url}/internal/v1/tenants/{tenant}/reservations/{uuid4()}/calls/1.1"
    subject = {"user_id": "user:ann", "agent": "triage", "model": "gpt-5.1"}
    await target.send("PUT", url, token, {**subject, "input_tokens": 10, "output_tokens": 10})


async def check(target: Target, token: dict[UUID, str], tenants: Sequence[UUID], number: int) -> None:
    """Request one entitlement."""
    tenant = tenants[number % len(tenants)]
    url = f"{target.url}/api/v1/billing/tenants/{tenant}/entitlements/messages"
    await target.send("GET", url, token[tenant])


def print_table(rows: Sequence[tuple[Measured, Measured | None]], caption: str) -> None:
    """Print what was measured, beside the bare loops."""
    cores, now = os.cpu_count(), datetime.now(UTC)
    title = f"billing-webhook, one process, {cores} cores shared with its databases and the client, {now:%F}"
    table = Table(title=title, caption=caption)
    for column in ("load", "a second", "p50 ms", "p99 ms", "of the bare loop", "p99 times"):
        table.add_column(column, justify="left" if column == "load" else "right")
    for measured, bare in rows:
        share = f"{measured.per_second / bare.per_second:.0%}" if bare else ""
        slower = f"{measured.percentile(99) / bare.percentile(99):.1f}" if bare else ""
        times = (f"{measured.percentile(percent):.1f}" for percent in (50, 99))
        table.add_row(measured.name, f"{measured.per_second:.0f}", *times, share, slower)
    Console(width=None if sys.stdout.isatty() else 140).print(table)


if __name__ == "__main__":
    main()
