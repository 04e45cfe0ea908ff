"""What a tenant may use: by its plan, its payments, grants, and what it has used."""

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from billing_webhook.cli import main
from billing_webhook.entitlements import cache
from billing_webhook.entitlements.plan import TenantPlans
from billing_webhook.main import create_app
from billing_webhook.models import BillingEvent, Customer, StripeObject, Subscription
from sqlalchemy import delete, select, update
from testkit.app import client, running
from testkit.stopwatch import Stopwatch

DAY = timedelta(days=1)
NOW = datetime.now(UTC)


@pytest.fixture
def path(tenant):
    return f"/api/v1/billing/tenants/{tenant}/entitlements"


@pytest.fixture
def entitlement(reader, path):
    async def get(feature="messages"):
        answer = await reader.get(f"{path}/{feature}")
        assert answer.status_code == 200, answer.text
        return answer.json()

    return get


@pytest.fixture
def report(admin, tenant):
    async def post(quantity, feature="messages", **changes):
        usage = {"feature_key": feature, "quantity": quantity, "idempotency_key": str(uuid4()), **changes}
        answer = await admin.post(f"/api/v1/billing/tenants/{tenant}/usage", json=usage)
        assert answer.status_code == 201, answer.text
        return answer

    return post


@pytest.fixture
def start(chat_agent, tenant):
    """Reserve what the start of a run uses."""

    def put():
        run = f"/internal/v1/tenants/{tenant}/reservations/{uuid4()}/calls/start"
        request = {"user_id": "user:ann", "agent": "triage", "model": "gpt-5.1", "messages": 1}
        return chat_agent.put(run, json=request)

    return put


@pytest.fixture
def run_command(settings, monkeypatch, capsys):
    """Run an operator's command on the test's database."""

    async def run(*arguments):
        monkeypatch.setattr("billing_webhook.settings.Settings.load", lambda: settings)
        code = await asyncio.to_thread(main, ["entitlements", *map(str, arguments)])
        return code, capsys.readouterr().out.strip()

    return run


async def test_an_entitlement_says_what_is_used_and_left(entitlement, report, start):
    await report(30)
    await start()
    answer = await entitlement()
    month = NOW.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    resets_at = datetime.fromisoformat(answer.pop("resets_at"))
    assert month < resets_at <= month + 31 * DAY
    assert answer == {
        "feature": "messages",
        "has_access": True,
        "type": "metered",
        "limit": "100",
        "used": "30",
        "reserved": "1",
        "remaining": "69",
        "overage": "0",
        "soft": False,
        "source": "plan",
        "version": 0,
    }


async def test_all_entitlements_of_a_tenant(reader, path):
    answer = (await reader.get(path)).json()
    assert (answer["plan_code"], answer["access"]) == ("free", "free")
    assert {each["feature"]: (each["type"], each["has_access"]) for each in answer["features"]} == {
        "cost": ("metered", True),
        "input_tokens": ("metered", True),
        "messages": ("metered", True),
        "output_tokens": ("metered", True),
        "priority_support": ("boolean", False),
        "seats": ("static", True),
    }
    unknown = await reader.get(f"{path}/wishes")
    assert (unknown.status_code, unknown.json()["code"]) == (404, "entitlement_not_found")
    stranger = path.replace(path.split("/")[5], str(uuid4()))
    assert (await reader.get(stranger)).json()["code"] == "tenant_not_found"


async def test_usage_beyond_a_hard_limit_is_recorded_and_ends_access(entitlement, report, start):
    assert "x-quota-warning" not in (await report(130)).headers
    answer = await entitlement()
    assert (answer["has_access"], answer["remaining"], answer["overage"]) == (False, "0", "30")
    assert (await start()).json()["code"] == "quota_exceeded"


async def test_a_soft_limit_warns_and_lets_through(subscribe, entitlement, report, start):
    await subscribe()
    assert "x-quota-warning" not in (await report(49_999)).headers
    warning = (await report(2)).headers["x-quota-warning"]
    assert warning.startswith("messages;scope=tenant;limit=50000;resets_at=")
    answer = await entitlement()
    assert (answer["has_access"], answer["soft"], answer["overage"]) == (True, True, "1")
    started = await start()
    assert (started.status_code, started.json()["warnings"][0]["feature"]) == (200, "messages")


async def test_thresholds_are_published_once_in_a_period(settings, app, tenant, report, issuer):
    async def published():
        async with app.state.resources.database.begin() as db:
            query = select(BillingEvent.data).where(
                BillingEvent.tenant_id == tenant, BillingEvent.type == "billing.usage.threshold_reached.v1"
            )
            return [event["percent"] for event in await db.scalars(query.order_by(BillingEvent.seq))]

    await report(49)
    assert await published() == []
    await asyncio.gather(*(report(1) for _ in range(20)))
    assert await published() == [50]
    async with (
        running(create_app(settings)) as other,
        client(other, issuer.token(tenant_id=tenant, role="admin")) as admin,
    ):
        usage = {"feature_key": "messages", "quantity": 40, "idempotency_key": "after a restart"}
        assert (await admin.post(f"/api/v1/billing/tenants/{tenant}/usage", json=usage)).status_code == 201
    assert await published() == [50, 80, 90, 100]
    await report(500)
    assert await published() == [50, 80, 90, 100]


async def test_a_payment_that_is_due_ends_what_costs_after_a_week_of_grace(
    subscribe, change_subscription, entitlement, start
):
    await subscribe(plan_code="starter", status="past_due", past_due_since=NOW - 6 * DAY)
    assert (await start()).status_code == 200
    assert (await entitlement())["has_access"]

    await change_subscription(past_due_since=NOW - 8 * DAY)
    refused = await start()
    assert (refused.status_code, refused.json()["code"]) == (402, "subscription_read_only")
    assert not (await entitlement())["has_access"]
    await change_subscription(status="unpaid")
    answer = await entitlement()
    assert (answer["has_access"], answer["limit"]) == (True, "100")


FAR, NEXT, LAST = NOW + 300 * DAY, NOW + 5 * DAY, NOW - 5 * DAY
TRIAL = {"status": "trialing", "trial_end": NEXT, "current_period_end": NEXT}
LEAVING = {"cancel_at_period_end": True, "cancel_at": NEXT}
PAUSED = {"pause_behavior": "void", "pause_resumes_at": NEXT}


@pytest.mark.parametrize(
    ("columns", "days", "plan", "access"),
    [
        ({}, 0, "pro", "full"),
        (TRIAL, 0, "pro", "full"),
        (TRIAL, 6, "pro", "full"),
        ({"status": "paused"}, 0, "pro", "read_only"),
        ({"status": "canceled", "ended_at": LAST}, 0, "free", "free"),
        ({"status": "canceled", "ended_at": LAST}, -6, "pro", "free"),
        (LEAVING, 4, "pro", "full"),
        (LEAVING, 5, "free", "free"),
        (PAUSED, 4, "pro", "read_only"),
        (PAUSED, 5, "pro", "full"),
        ({"status": "past_due", "past_due_since": NOW}, 6, "pro", "full"),
        ({"status": "past_due", "past_due_since": NOW}, 7, "pro", "read_only"),
        ({"status": "unpaid"}, 0, "free", "free"),
        ({"status": "incomplete"}, 0, "free", "free"),
        ({"plan_code": "starter"}, 0, "starter", "full"),
        ({"plan_code": "no longer sold"}, 0, "free", "full"),
    ],
)
def test_access_by_status_and_day(columns, days, plan, access):
    proper = {"plan_code": "pro", "status": "active", "seats": 1, "started_at": NOW - 100 * DAY}
    periods = {"current_period_start": NOW - DAY, "current_period_end": NOW + 29 * DAY}
    subscription = Subscription(**{**proper, **periods, **columns})
    current = TenantPlans(uuid4(), [subscription]).at(NOW + days * DAY + timedelta(seconds=1))
    assert (current.plan.code, current.access) == (plan, access)


async def test_an_upgrade_counts_at_once_and_a_new_period_resets(
    subscribe, change_subscription, entitlement, report
):
    await report(100)
    assert not (await entitlement())["has_access"]
    await subscribe(plan_code="starter", started_at=NOW, current_period_start=NOW, current_period_end=NEXT)
    answer = await entitlement()
    assert (answer["limit"], answer["used"], answer["has_access"]) == ("5000", "0", True)
    await report(7)
    # No webhook has told of the period that has begun, and no worker has run.
    start = NOW - 40 * DAY
    await change_subscription(current_period_start=start, current_period_end=NOW - 10 * DAY, started_at=start)
    answer = await entitlement()
    assert answer["used"] == "0"
    assert datetime.fromisoformat(answer["resets_at"]) > NOW


async def test_an_operator_grants_more_until_a_time(run_command, tenant, entitlement, report, start):
    await report(100)
    code, grant = await run_command("grant", tenant, "messages", "--limit", 150, "--reason", "an outage")
    assert (code, "limit 150" in grant) == (0, True)
    answer = await entitlement()
    assert (answer["limit"], answer["source"], answer["remaining"]) == ("150", "grant", "50")
    assert (await start()).status_code == 200
    await run_command("grant", tenant, "messages", "--priority", 1, "--reason", "a partner")
    answer = await entitlement()
    assert (answer["limit"], answer["remaining"], answer["has_access"]) == (None, None, True)
    await run_command(
        *("grant", tenant, "messages", "--priority", 2, "--limit", 1),
        *("--expires", f"{NOW - DAY:%Y-%m-%d}", "--reason", "over"),
    )
    assert (await entitlement())["limit"] is None
    _, listed = await run_command("grants", tenant)
    assert len(listed.splitlines()) == 3
    for line in listed.splitlines():
        assert (await run_command("revoke", line.split()[0]))[0] == 0
    answer = await entitlement()
    assert (answer["limit"], answer["source"], answer["version"]) == ("100", "plan", 6)
    assert (await run_command("revoke", uuid4()))[0] == 1
    assert (await run_command("grant", tenant, "wishes", "--reason", "none"))[0] == 1
    assert (await run_command("grant", tenant, "messages", "--limit", "many", "--reason", "none"))[0] == 1


async def test_a_granted_feature_is_had_whatever_the_plan(run_command, tenant, entitlement):
    assert not (await entitlement("priority_support"))["has_access"]
    await run_command("grant", tenant, "priority_support", "--reason", "a partner")
    answer = await entitlement("priority_support")
    assert (answer["has_access"], answer["source"], answer["limit"]) == (True, "grant", None)


async def test_features_that_stripe_grants_are_had(app, tenant, redis, entitlement):
    customer = f"cus_{uuid4().hex}"
    summary = {"handler": "entitlements", "object_id": customer, "event_created": NOW}
    async with app.state.resources.database.begin() as db:
        db.add(Customer(stripe_customer_id=customer, tenant_id=tenant))
        db.add(StripeObject(**summary, state="exports,priority_support"))
    for feature in ("exports", "priority_support"):
        answer = await entitlement(feature)
        assert (answer["has_access"], answer["source"]) == (True, "stripe")
    async with app.state.resources.database.begin() as db:
        await db.execute(update(StripeObject).where(StripeObject.object_id == customer).values(state=""))
    await redis.delete(cache.key_of(tenant))
    assert not (await entitlement("priority_support"))["has_access"]


async def test_seats_are_those_of_the_subscription(subscribe, entitlement):
    await subscribe(plan_code="starter", seats=4)
    answer = await entitlement("seats")
    assert (answer["type"], answer["limit"], answer["used"], answer["remaining"]) == (
        "static",
        "10",
        "4",
        "6",
    )
    assert answer["resets_at"] is None


async def test_a_cached_entitlement_is_of_its_version_and_at_most_60_seconds_old(
    app, tenant, redis, subscribe, entitlement
):
    await subscribe(plan_code="starter")
    assert (await entitlement())["limit"] == "5000"
    key = cache.key_of(tenant)
    assert 0 < await redis.pttl(key) <= 60_000
    entry = await redis.get(key)
    # A change of which no version tells, behind the back of the service.
    async with app.state.resources.database.begin() as db:
        await db.execute(delete(Subscription).where(Subscription.tenant_id == tenant))
        db.add(
            Subscription(tenant_id=tenant, plan_code="free", status="active", seats=1, items=[], version=1)
        )
    assert (await entitlement())["limit"] == "5000"
    old = NOW - timedelta(seconds=1)
    stale = entry.replace(
        cache.Definition.model_validate_json(entry).model_dump(mode="json")["valid_until"].encode(),
        old.isoformat().replace("+00:00", "Z").encode(),
    )
    assert stale != entry
    await redis.set(key, stale)
    assert (await entitlement())["limit"] == "100"
    await redis.set(key, b"no entry")
    assert (await entitlement())["limit"] == "100"


async def test_entitlements_are_read_fast(entitlement):
    """Without any call to Stripe; the bound is one that only a call to somewhere else would exceed."""
    await entitlement()
    with Stopwatch() as stopwatch:
        for _ in range(20):
            await entitlement()
    assert stopwatch.seconds < 20
