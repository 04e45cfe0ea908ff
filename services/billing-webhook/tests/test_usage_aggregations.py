"""Totals that are not sums, their limits, and what Stripe's meters get of them."""

import asyncio
import random
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import uuid4

import pytest
from billing_webhook.models import MeterEvent, UsageRecord, UsageTotal
from billing_webhook.plans import catalog as plans
from billing_webhook.usage import meter_events, reconcile
from sqlalchemy import select

KINDS = {"uploads": "count", "storage": "max", "seats_in_use": "last", "active_users": "unique"}


@pytest.fixture(autouse=True)
def features(tmp_path, monkeypatch):
    """Sell a feature of each kind of aggregation."""
    text = plans.FILE.read_text()
    limits = "".join(f'{name} = {{ limit = 10, kind = "hard" }}\n' for name in KINDS)
    text = text.replace("priority_support =", f"{limits}priority_support =")
    for name, kind in KINDS.items():
        dimension = 'dimension = "user"\n' if kind == "unique" else ""
        text += f'\n[[aggregations]]\nfeature = "{name}"\nkind = "{kind}"\n{dimension}'
        text += f'\n[[meters]]\nfeature = "{name}"\nevent_name = "acme_{name}"\naggregation = "sum"\n'
    file = tmp_path / "plans.toml"
    file.write_text(text)
    monkeypatch.setattr(plans, "FILE", file)
    plans.catalog.cache_clear()
    yield
    plans.catalog.cache_clear()


@pytest.fixture
def path(tenant):
    return f"/api/v1/billing/tenants/{tenant}/usage"


@pytest.fixture
def report(admin, path):
    async def post(feature, quantity=1, **changes):
        usage = {"feature_key": feature, "quantity": quantity, "idempotency_key": str(uuid4()), **changes}
        answer = await admin.post(path, json=usage)
        assert answer.status_code == 201, answer.text
        return answer.json()["id"]

    return post


@pytest.fixture
def reverse(admin, path):
    async def post(record):
        answer = await admin.post(
            f"{path}/records/{record}/reverse", json={"idempotency_key": f"undo-{record}"}
        )
        assert answer.status_code == 201, answer.text

    return post


@pytest.fixture
def used(admin, path):
    async def get(feature):
        features = (await admin.get(f"{path}/totals")).json()["features"]
        return next(each["used"] for each in features if each["feature_key"] == feature)

    return get


async def test_totals_are_counts_maxima_last_and_unique_values(report, reverse, used):
    records = defaultdict(list)
    now = datetime.now(UTC)
    for n, (quantity, user) in enumerate(((3, "ann"), (8, "bob"), (5, "ann"))):
        about = {
            "occurred_at": (now - timedelta(seconds=30 - n)).isoformat(),
            "dimensions": {"user": user},
        }
        for feature in KINDS:
            records[feature].append(await report(feature, quantity, **about))
    assert [await used(feature) for feature in KINDS] == ["3", "8", "5", "2"]
    for feature in KINDS:
        await reverse(records[feature][1])
    assert [await used(feature) for feature in KINDS] == ["2", "5", "5", "1"]
    # What comes late is not the last one.
    await report("seats_in_use", 9, occurred_at=(now - timedelta(seconds=60)).isoformat())
    assert await used("seats_in_use") == "5"


async def test_totals_are_those_of_the_ledger_in_any_order_and_at_the_same_time(
    report, reverse, used, database, tenant
):
    dice = random.Random(11)  # noqa: S311  # the same each time
    now = datetime.now(UTC)
    reports = [
        (feature, dice.randint(1, 9), {"user": dice.choice("abcde")}, dice.randint(0, 50))
        for feature in KINDS
        for _ in range(12)
    ]
    dice.shuffle(reports)

    async def report_and_reverse(feature, quantity, dimensions, age):
        occurred_at = (now - timedelta(seconds=age)).isoformat()
        record = await report(feature, quantity, dimensions=dimensions, occurred_at=occurred_at)
        if quantity % 3 == 0:
            await reverse(record)

    for start in range(0, len(reports), 8):
        await asyncio.gather(*(report_and_reverse(*each) for each in reports[start : start + 8]))
    async with database.begin() as db:
        rows = (await db.scalars(select(UsageRecord).filter_by(tenant_id=tenant))).all()
        assert [each for each in await reconcile.compare_counters(db) if each.differs] == []
    reversed_ids = {row.reverses_id for row in rows}
    valid = [row for row in rows if row.reverses_id is None and row.id not in reversed_ids]
    by_feature = {name: [row for row in valid if row.feature_key == name] for name in KINDS}
    last = max(by_feature["seats_in_use"], key=lambda row: (row.occurred_at, row.received_at, row.id))
    assert [await used(name) for name in KINDS] == [
        str(len(by_feature["uploads"])),
        str(int(max(row.quantity for row in by_feature["storage"]))),
        str(int(last.quantity)),
        str(len({row.dimensions["user"] for row in by_feature["active_users"]})),
    ]


async def test_limits_are_of_the_total(report, reader, tenant):
    for feature, access in (("uploads", True), ("storage", False)):
        await report(feature, 10)
        answer = await reader.get(f"/api/v1/billing/tenants/{tenant}/entitlements/{feature}")
        assert (answer.json()["limit"], answer.json()["has_access"]) == ("10", access)


async def test_a_unique_feature_needs_its_dimension(admin, path):
    usage = {"feature_key": "active_users", "quantity": 1, "idempotency_key": "x"}
    answer = await admin.post(path, json=usage)
    assert (answer.status_code, answer.json()["code"]) == (422, "dimension_missing")
    assert "user" in answer.json()["detail"]


async def test_stripe_gets_what_the_total_has_changed_by(report, subscribe, database, tenant):
    """Its meters know no maximum and no unique values."""
    await subscribe()
    for quantities in ((3, 8), (5,), (9,)):
        for quantity in quantities:
            await report("storage", quantity)
        async with database.begin() as db:
            await meter_events.create_due(db, timedelta(0))
            for event in await db.scalars(select(MeterEvent)):
                event.state = "sent"
    async with database.begin() as db:
        events = await db.scalars(select(MeterEvent.value).order_by(MeterEvent.identifier))
        total = await db.scalar(select(UsageTotal).filter_by(tenant_id=tenant, feature_key="storage"))
        assert ([*events], total.used) == ([Decimal(8), Decimal(1)], Decimal(9))
