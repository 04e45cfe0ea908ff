"""Random commands, jumps of the clock, cards and disorder of webhooks: in the end our rows are Stripe's.

Events come duplicated, late, out of order or not at all; answers of Stripe are lost after they have worked;
subscriptions change at Stripe, in the portal or the dashboard, of which only events tell. At the end of each
walk the missing events are fetched, as the scheduled backfill does, and rows are compared. Then every event
is processed once more, which changes and publishes nothing.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from billing_webhook.cli import main
from billing_webhook.main import create_app
from billing_webhook.models import BillingEvent, Command, Invoice, StripeDispatch, Subscription
from billing_webhook.settings import Settings
from billing_webhook.stripe_events import dispatch_worker
from billing_webhook.stripe_events.backfill import backfill
from billing_webhook.stripe_events.replay import Replay, Selection, replay
from billing_webhook.subscriptions import worker
from billing_webhook.subscriptions.state import at, invoice_values, plan_of
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test
from pydantic import SecretStr
from sandbox.embedded import free_port
from sandbox.stripe.app import create_stripe
from servicekit.database import Database
from servicekit.http.client import HttpPool
from sqlalchemy import func, select, update
from testkit.eventually import until
from testkit.issuer import Issuer
from testkit.live_server import serving

from .sandbox_stripe import KEY, Sandbox

STEPS = 4
LIVE = {"active", "trialing", "past_due"}
# What somebody changes at Stripe; `seats` changes the quantity of the first item.
CHANGES_AT_STRIPE: dict[str, dict[str, Any]] = {
    "two seats": {"seats": 2},
    "five seats": {"seats": 5},
    "no renewal": {"cancel_at_period_end": True},
    "renewal": {"cancel_at_period_end": False},
    "pause": {"pause_collection": {"behavior": "void"}},
    "no pause": {"pause_collection": ""},
    "no trial": {"trial_end": "now"},
}
DISORDERS = ("reorder", "drop", "late", "duplicate")
CHANGES = st.lists(st.sampled_from([*CHANGES_AT_STRIPE]), min_size=2, max_size=3, unique=True)
OPEN = ("pending", "running", "failed", "unmapped")
# Refusals that a client can get from a command in its time, and what the whole of the walk never gets.
REFUSALS = {402, 404, 409, 422, 503}


class World:
    """The service behind a socket, the sandbox's Stripe that sends it events, and our database."""

    def __init__(self, url: str, sandbox: Sandbox, settings: Settings, issuer: Issuer) -> None:
        self.url, self.sandbox, self.settings, self.issuer = url, sandbox, settings, issuer
        self.begun = datetime.fromtimestamp(sandbox.now(), UTC)

    def in_database(self, work: Callable[[Database], Awaitable[Any]]) -> Any:
        """Run work with a database of its own."""

        async def run() -> Any:
            database = Database(self.settings.database_url, name="walk")
            try:
                return await work(database)
            finally:
                await database.close()

        return asyncio.run(run())

    def backfill(self) -> None:
        """Fetch the events that never came."""

        async def run(database: Database) -> None:
            pool = HttpPool()
            client = self.settings.stripe(pool)
            assert client is not None
            try:
                await backfill(database, client, self.settings, since=self.begun)
            finally:
                await pool.aclose()

        self.in_database(run)

    def settle(self) -> None:
        """Wait until every command and every dispatch is finished."""

        async def unfinished(database: Database) -> int:
            async with database.begin() as db:
                dispatches = update(StripeDispatch).where(StripeDispatch.status.in_(OPEN[2:]))
                await db.execute(dispatches.values(next_attempt_at=func.now()))
                pending = update(Command).where(Command.state == "pending")
                await db.execute(pending.values(next_attempt_at=func.now()))
                left = select(func.count()).where(StripeDispatch.status.in_(OPEN))
                commands = select(func.count()).where(Command.state == "pending")
                return (await db.scalar(left) or 0) + (await db.scalar(commands) or 0)

        until(lambda: self.in_database(unfinished) == 0, interval=0.2)

    def process_again(self, tenant: str) -> None:
        """Have every event of a tenant processed once more."""

        async def run(database: Database) -> None:
            async with database.begin() as db:
                every = Selection(tenant=UUID(tenant))
                if await db.scalar(select(func.count()).where(StripeDispatch.tenant_id == UUID(tenant))):
                    await replay(db, every, Replay("walk", "nothing may follow", force=True))

        self.in_database(run)
        self.settle()

    def published(self, tenant: str) -> list[tuple[int, str]]:
        """Return the sequence numbers and types of what was published of a tenant."""

        async def read(database: Database) -> list[tuple[int, str]]:
            events = select(BillingEvent.seq, BillingEvent.type).where(BillingEvent.tenant_id == tenant)
            async with database.begin() as db:
                return [(row.seq, row.type) for row in await db.execute(events.order_by(BillingEvent.seq))]

        result: list[tuple[int, str]] = self.in_database(read)
        return result

    def rows(self, tenant: str) -> tuple[list[Subscription], list[Invoice]]:
        """Return all that we have of a tenant."""

        async def read(database: Database) -> tuple[list[Subscription], list[Invoice]]:
            async with database.begin() as db:
                subscriptions = await db.scalars(select(Subscription).where(Subscription.tenant_id == tenant))
                invoices = await db.scalars(select(Invoice).where(Invoice.tenant_id == tenant))
                return [*subscriptions], [*invoices]

        result: tuple[list[Subscription], list[Invoice]] = self.in_database(read)
        return result


@pytest.fixture
def world(settings, issuer, tmp_path, monkeypatch) -> Iterator[World]:
    port, env_file = free_port(), tmp_path / ".env"
    # What this process sets due does not wake the service's workers.
    monkeypatch.setattr(dispatch_worker, "POLL_SECONDS", 0.2)
    monkeypatch.setattr(worker, "POLL_SECONDS", 0.2)
    with serving(create_stripe()) as stripe_url:
        monkeypatch.setenv("STRIPE_SECRET_KEY", KEY)
        monkeypatch.setenv("STRIPE_API_BASE", stripe_url)
        webhook = f"http://127.0.0.1:{port}/webhooks/stripe"
        assert main(["stripe", "setup", "--env-file", str(env_file), "--webhook-url", webhook]) == 0
        secret = next(
            line.partition("=")[2] for line in env_file.read_text().splitlines() if "WEBHOOK_SECRET" in line
        )
        changes = {
            "stripe_secret_key": SecretStr(KEY),
            "stripe_api_base": stripe_url,
            "stripe_webhook_secret": SecretStr(secret),
        }
        changed = settings.model_copy(update=changes)
        sandbox = Sandbox(stripe_url)
        with serving(create_app(changed), port) as url:
            yield World(url, sandbox, changed, issuer)
        sandbox.close()


class Walk(RuleBasedStateMachine):
    """One tenant's way with its subscription."""

    world: World
    # Of the last events of the walk.
    disorder: str

    def __init__(self) -> None:
        super().__init__()
        self.tenant = str(uuid4())
        token = self.world.issuer.token(tenant_id=self.tenant)
        self.http = httpx.Client(
            base_url=f"{self.world.url}/api/v1/billing/tenants/{self.tenant}",
            headers={"Authorization": f"Bearer {token}"},
            timeout=60,
        )

    def send(self, method: str, path: str, body: dict[str, Any] | None = None) -> None:
        answer = self.http.request(method, path, json=body)
        assert answer.is_success or answer.status_code in REFUSALS, answer.text

    @property
    def customers(self) -> list[Any]:
        return self.world.sandbox.customers_of(self.tenant)

    @property
    def live(self) -> list[Any]:
        """Return the tenant's subscriptions at Stripe that have not ended."""
        every = [one for each in self.customers for one in self.world.sandbox.subscriptions(each.id)]
        return [one for one in every if one.status in LIVE]

    def ensure_live(self) -> None:
        """Start a subscription where there is none."""
        if not self.live:
            self.change_card("pm_card_visa")
            self.start("pro", 1, renews=True)

    @initialize(
        plan=st.sampled_from(["pro", "starter"]),
        days=st.sampled_from([0, 0, 8]),
        lost=st.sampled_from(["/v1/subscriptions", "/v1/customers"]),
        last_changes=CHANGES,
    )
    def begin(self, plan: str, days: int, lost: str, last_changes: list[str]) -> None:
        """Most of what can happen happens to a subscription that is paid for."""
        self.last_changes = last_changes
        self.world.sandbox.fail(kind="drop", method="POST", path=lost, worked=True, count=3)
        self.start(plan, 1, renews=True)
        self.world.settle()
        self.change_card("pm_card_visa")
        self.world.sandbox.advance(days=days)

    @rule(changes=CHANGES, disorder=st.sampled_from(DISORDERS))
    def change_at_stripe(self, changes: list[str], disorder: str) -> None:
        """Change the subscription more often than within a second, and have the events come in disorder."""
        self.ensure_live()
        self.disturb_deliveries(disorder, len(changes))
        subscriptions = self.world.sandbox.client.v1.subscriptions
        for subscription in self.live:
            item = subscription.to_dict()["items"]["data"][0]
            for change in changes:
                params = dict(CHANGES_AT_STRIPE[change])
                if seats := params.pop("seats", None):
                    params["items"] = [{"id": item["id"], "quantity": seats}]
                subscriptions.update(subscription.id, params)

    @rule(disorder=st.sampled_from(DISORDERS))
    def end_at_stripe(self, disorder: str) -> None:
        """End the subscription in the dashboard."""
        self.disturb_deliveries(disorder, 1)
        for subscription in self.live:
            self.world.sandbox.client.v1.subscriptions.cancel(subscription.id)

    @rule(is_paid_later=st.booleans())
    def fail_to_pay(self, is_paid_later: bool) -> None:
        """End a period with a card that is declined."""
        self.ensure_live()
        self.change_card("pm_card_chargeCustomerFail")
        self.world.sandbox.advance(days=32)
        self.world.settle()
        if is_paid_later:
            self.change_card("pm_card_visa")
            self.world.sandbox.advance(days=8)

    @rule(plan=st.sampled_from(["starter", "pro"]), seats=st.integers(1, 3), renews=st.booleans())
    def start(self, plan: str, seats: int, renews: bool) -> None:
        body = {"plan_code": plan, "seat_count": seats, "auto_renew": renews}
        self.send("POST", "/subscription", {**body, "billing_email": f"{self.tenant}@example.com"})

    @rule(plan=st.sampled_from(["starter", "pro"]), is_completed=st.booleans())
    def check_out(self, plan: str, is_completed: bool) -> None:
        pages = {"success_url": "https://app.example.com", "cancel_url": "https://app.example.com"}
        self.send("POST", "/checkout-sessions", {"plan_code": plan, **pages})
        if is_completed:
            self.world.sandbox.complete_checkouts(self.customers)

    @rule(plan=st.sampled_from([None, "starter", "pro"]), seats=st.sampled_from([None, 1, 2, 5]))
    def change(self, plan: str | None, seats: int | None) -> None:
        self.send("PATCH", "/subscription", {"plan_code": plan, "seat_count": seats})

    @rule(at_period_end=st.booleans())
    def cancel(self, at_period_end: bool) -> None:
        self.send("POST", "/subscription/cancel", {"at_period_end": at_period_end})

    @rule(command=st.sampled_from(["pause", "resume"]))
    def pause_or_resume(self, command: str) -> None:
        self.send("POST", f"/subscription/{command}")

    @rule(card=st.sampled_from(["pm_card_visa", "pm_card_chargeCustomerFail"]))
    def change_card(self, card: str) -> None:
        for customer in self.customers[:1]:
            self.world.sandbox.add_card(customer.id, card)

    @rule(days=st.sampled_from([1, 8, 31]))
    def let_time_pass(self, days: int) -> None:
        self.world.sandbox.advance(days=days)

    @rule(kind=st.sampled_from(["duplicate", "late", "reorder", "drop"]), count=st.integers(1, 4))
    def disturb_deliveries(self, kind: str, count: int) -> None:
        fault = {"kind": kind, "count": count, "seconds": 0.2}
        self.world.sandbox.http.post("/_ctl/faults", json={"deliveries": [fault]}).raise_for_status()

    @rule(
        kind=st.sampled_from(["drop", "error"]),
        path=st.sampled_from(["/v1/customers", "/v1/subscriptions", "/v1/subscriptions/*"]),
        worked=st.booleans(),
    )
    def lose_answers(self, kind: str, path: str, worked: bool) -> None:
        self.world.sandbox.fail(kind=kind, method="POST", path=path, worked=worked, count=3)

    def teardown(self) -> None:
        """Compare, also after changes that only events tell of, after all events again, and after the end."""
        self.rest()
        self.fail_to_pay(is_paid_later=True)
        self.change_at_stripe(self.last_changes, self.disorder)
        self.rest()
        published = self.world.published(self.tenant)
        assert [seq for seq, _ in published] == list(range(1, len(published) + 1))
        self.world.process_again(self.tenant)
        self.compare()
        assert self.world.published(self.tenant) == published
        self.end_at_stripe(self.disorder)
        self.rest()
        self.http.close()

    def rest(self) -> None:
        """Wait until nothing is left to do, fetch what never came, and compare."""
        self.world.sandbox.clear()
        self.world.settle()
        self.world.backfill()
        self.world.settle()
        self.compare()

    def compare(self) -> None:
        subscriptions, invoices = self.world.rows(self.tenant)
        ours = {row.stripe_subscription_id: row for row in subscriptions if row.stripe_subscription_id}
        sandbox = self.world.sandbox
        theirs = {one.id: one for customer in self.customers for one in sandbox.subscriptions(customer.id)}
        assert ours.keys() == theirs.keys()
        for subscription_id, row in ours.items():
            assert facts_of_row(row) == facts_of(theirs[subscription_id])
        alive = [one for one in theirs.values() if one.status not in {"canceled", "incomplete_expired"}]
        assert len(alive) <= 1
        assert len([row for row in subscriptions if row.ended_at is None]) == (1 if subscriptions else 0)
        self.compare_invoices({row.stripe_invoice_id: row for row in invoices})

    def compare_invoices(self, ours: dict[str, Invoice]) -> None:
        for customer in self.customers:
            for invoice in self.world.sandbox.client.v1.invoices.list({"customer": customer.id}).data:
                if invoice.status == "draft":
                    continue
                row, expected = ours[invoice.id], invoice_values(invoice)
                names = ("status", "total", "amount_due", "amount_paid", "amount_remaining", "number")
                assert {name: getattr(row, name) for name in names} == {
                    name: expected[name] for name in names
                }


def facts_of(subscription: Any) -> dict[str, Any]:
    """Return what of Stripe's state must be in our row."""
    plan, base = plan_of(subscription, {})
    return {
        "plan": plan.code,
        "status": subscription.status,
        "seats": base.quantity,
        "period": (at(base.current_period_start), at(base.current_period_end)),
        "trial_end": at(subscription.trial_end),
        "ends": (subscription.cancel_at_period_end, at(subscription.cancel_at)),
        "is_paused": subscription.pause_collection is not None,
        "has_ended": subscription.ended_at is not None,
    }


def facts_of_row(row: Subscription) -> dict[str, Any]:
    """Return the same of our row."""
    return {
        "plan": row.plan_code,
        "status": row.status,
        "seats": row.seats,
        "period": (row.current_period_start, row.current_period_end),
        "trial_end": row.trial_end,
        "ends": (row.cancel_at_period_end, row.cancel_at),
        "is_paused": row.pause_behavior is not None,
        "has_ended": row.ended_at is not None,
    }


@pytest.mark.parametrize("disorder", DISORDERS)
def test_whatever_happens_our_rows_become_those_of_stripe(world, disorder):
    bound = type("Bound", (Walk,), {"world": world, "disorder": disorder})
    run_state_machine_as_test(
        bound,
        settings=settings(
            # The first is the simplest one that there is.
            max_examples=2,
            stateful_step_count=STEPS,
            deadline=None,
            derandomize=True,
            database=None,
            # Each of them takes seconds: a failure is reported as it came.
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
            print_blob=False,
        ),
    )
