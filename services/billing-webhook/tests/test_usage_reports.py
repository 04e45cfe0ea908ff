"""Usage that clients report: one effect for each key, the right period, and totals that are sums."""

import asyncio
import random
from collections import Counter
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import uuid4

import pytest
from billing_webhook.entitlements.periods import add_months, anchored_period
from billing_webhook.entitlements.plan import TenantPlans, period_of
from billing_webhook.models import Subscription, UsageRecord, UsageTotal
from billing_webhook.usage.periods import assign_period
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import func, select
from testkit.app import client

USAGE = {"feature_key": "messages", "quantity": 120, "idempotency_key": "messages-2025-11-06"}
DAY = timedelta(days=1)


@pytest.fixture
def path(tenant):
    return f"/api/v1/billing/tenants/{tenant}/usage"


@pytest.fixture
def report(admin, path):
    def post(**changes):
        return admin.post(path, json={**USAGE, "idempotency_key": str(uuid4()), **changes})

    return post


@pytest.fixture
def total(admin, path):
    async def get(feature="messages", **query):
        answer = await admin.get(f"{path}/totals", params=query)
        assert answer.status_code == 200, answer.text
        features = {each["feature_key"]: each for each in answer.json()["features"]}
        return features.get(feature, {"used": "0", "reserved": "0", "adjustments": "0"})

    return get


async def test_usage_is_recorded_as_the_readme_says(admin, path, tenant, total):
    headers = {"X-Tenant-Id": str(tenant), "X-Tenant-Role": "admin"}
    answer = await admin.post(path, json=USAGE, headers=headers)
    record = answer.json()
    assert answer.status_code == 201, answer.text
    assert (record["feature_key"], record["quantity"], record["source"]) == ("messages", "120", "api")
    assert (await total())["used"] == "120"


async def test_the_same_key_and_body_again_is_answered_with_the_first_record(admin, path, total):
    answers = await asyncio.gather(*(admin.post(path, json=USAGE) for _ in range(50)))
    assert Counter(answer.status_code for answer in answers) == {201: 1, 200: 49}
    assert len({answer.json()["id"] for answer in answers}) == 1
    replayed = [answer.headers.get("idempotent-replayed") for answer in answers]
    assert replayed.count("true") == 49
    assert (await total())["used"] == "120"


async def test_two_reports_for_one_period_both_count(admin, path, total):
    """A second key for a period was once answered with 500, after Stripe had been charged."""
    for key in ("first", "second"):
        answer = await admin.post(path, json={**USAGE, "idempotency_key": key})
        assert answer.status_code == 201, answer.text
    assert (await total())["used"] == "240"


@pytest.mark.parametrize(
    "other", [{"quantity": 121}, {"feature_key": "cost"}, {"dimensions": {"region": "eu"}}]
)
async def test_the_same_key_with_another_body_is_a_conflict(admin, path, total, other):
    """A known key with another quantity was once accepted, and its quantity dropped without a word."""
    await admin.post(path, json=USAGE)
    answer = await admin.post(path, json={**USAGE, **other})
    assert (answer.status_code, answer.json()["code"]) == (409, "idempotency_conflict")
    assert (await total())["used"] == "120"
    assert (await total("cost"))["used"] == "0"


async def test_keys_are_a_tenants_own(admin, path, app, issuer, total):
    await admin.post(path, json=USAGE)
    async with client(app, issuer.token(tenant_id=(other := uuid4()), role="admin")) as stranger:
        answer = await stranger.post(f"/api/v1/billing/tenants/{other}/usage", json={**USAGE, "quantity": 1})
        assert answer.status_code == 201
        assert (await stranger.post(path, json=USAGE)).json()["code"] == "tenant_not_found"
    assert (await total())["used"] == "120"


@pytest.mark.parametrize(
    "wrong",
    [
        {"quantity": 0},
        {"quantity": -1},
        {"quantity": 0.5},
        {"quantity": "0.0000001"},
        {"quantity": "NaN"},
        {"quantity": True},
        {"quantity": "1" * 40},
        {"idempotency_key": ""},
        {"idempotency_key": "run:1"},
        {"idempotency_key": "a\u0000b"},
        {"feature_key": "Messages"},
        {"dimensions": {"a": "\u0000"}},
        {"occurred_at": "yesterday"},
        {"tenant_id": "x"},
    ],
)
async def test_what_is_no_usage_is_refused(report, wrong):
    answer = await report(**wrong)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")


async def test_fractions_are_exact(report, total):
    for _ in range(10):
        assert (await report(feature_key="cost", quantity="0.1")).status_code == 201
    assert (await total("cost"))["used"] == "1"


async def test_features_that_are_not_counted_are_refused(report):
    for feature, status, code in (
        ("wishes", 422, "feature_not_found"),
        ("priority_support", 403, "not_entitled"),
        ("seats", 422, "feature_not_metered"),
    ):
        answer = await report(feature_key=feature)
        assert (answer.status_code, answer.json()["code"]) == (status, code)


async def test_times_have_bounds(report):
    now = datetime.now(UTC)
    for time, status, code in (
        (now + timedelta(minutes=4), 201, None),
        (now + timedelta(minutes=6), 422, "usage_in_future"),
        (now - 36 * DAY, 422, "too_late"),
        (now - 34 * DAY, 201, None),
    ):
        answer = await report(occurred_at=time.isoformat())
        assert (answer.status_code, answer.json().get("code")) == (status, code)


async def test_a_period_without_a_time_is_its_end_or_now(report):
    now = datetime.now(UTC)
    start, end = now - 3 * DAY, now - 2 * DAY
    answer = await report(period_start=start.isoformat(), period_end=end.isoformat())
    assert start < datetime.fromisoformat(answer.json()["occurred_at"]) < end
    answer = await report(period_start=start.isoformat(), period_end=(now + DAY).isoformat())
    assert datetime.fromisoformat(answer.json()["occurred_at"]) - now < timedelta(minutes=1)
    answer = await report(
        period_start=start.isoformat(), period_end=end.isoformat(), occurred_at=now.isoformat()
    )
    assert answer.json()["code"] == "usage_outside_period"


async def test_late_usage_counts_in_its_period_for_a_day_and_then_in_the_current_one(
    report, subscribe, total, admin, path
):
    now = datetime.now(UTC)
    start = now - timedelta(hours=12)
    await subscribe(current_period_start=start, current_period_end=add_months(start, 1))
    late = (await report(quantity=5, occurred_at=(start - timedelta(hours=1)).isoformat())).json()
    assert (late["is_adjustment"], (await total())["used"]) == (False, "0")
    assert (await total(at=(start - timedelta(hours=1)).isoformat()))["used"] == "5"
    too_late = (await report(quantity=7, occurred_at=(start - 34 * DAY).isoformat())).json()
    assert too_late["is_adjustment"]
    current = await total()
    assert (current["used"], current["adjustments"]) == ("7", "7")
    listed = (await admin.get(f"{path}/records")).json()["items"]
    assert [(each["quantity"], each["is_adjustment"]) for each in listed] == [("7", True), ("5", False)]


async def test_a_record_is_taken_back_by_another_once(report, admin, path, total):
    record = (await report(quantity="2.5")).json()
    reverse = f"{path}/records/{record['id']}/reverse"
    answer = await admin.post(reverse, json={"idempotency_key": "undo"})
    reversal = answer.json()
    assert answer.status_code == 201, answer.text
    assert (reversal["quantity"], reversal["reverses_id"]) == ("-2.5", record["id"])
    assert (await total())["used"] == "0"
    again = await admin.post(reverse, json={"idempotency_key": "undo"})
    assert (again.status_code, again.json(), again.headers["idempotent-replayed"]) == (200, reversal, "true")
    for target, key, status, code in (
        (record["id"], "undo-2", 409, "usage_already_reversed"),
        (reversal["id"], "undo-3", 409, "usage_already_reversed"),
        (uuid4(), "undo-4", 404, "usage_record_not_found"),
        ((await report()).json()["id"], "undo", 409, "idempotency_conflict"),
    ):
        answer = await admin.post(f"{path}/records/{target}/reverse", json={"idempotency_key": key})
        assert (answer.status_code, answer.json()["code"]) == (status, code)


async def test_parallel_reversals_take_back_once(report, admin, path, total):
    record = (await report(quantity=10)).json()
    reverse = f"{path}/records/{record['id']}/reverse"
    answers = await asyncio.gather(
        *(admin.post(reverse, json={"idempotency_key": f"undo-{n}"}) for n in range(10))
    )
    assert Counter(answer.status_code for answer in answers) == {201: 1, 409: 9}
    assert (await total())["used"] == "0"


async def test_a_batch_says_of_each_report_what_has_become_of_it(admin, path, report, total):
    await report(idempotency_key="known", quantity=1)
    await report(idempotency_key="other", quantity=1)
    items = [
        {**USAGE, "idempotency_key": "new", "quantity": 2},
        {**USAGE, "idempotency_key": "new", "quantity": 2},
        {**USAGE, "idempotency_key": "new", "quantity": 3},
        {**USAGE, "idempotency_key": "known", "quantity": 1},
        {**USAGE, "idempotency_key": "other", "quantity": 9},
        {**USAGE, "idempotency_key": "wrong", "quantity": -1},
        {**USAGE, "idempotency_key": "unknown", "feature_key": "wishes"},
        "nothing",
    ]
    answer = await admin.post(f"{path}/batch", json={"items": items})
    results = answer.json()
    assert answer.status_code == 200, answer.text
    assert [item["state"] for item in results["items"]] == [
        "recorded",
        "replayed",
        "refused",
        "replayed",
        *["refused"] * 4,
    ]
    assert (results["recorded"], results["replayed"], results["refused"]) == (1, 2, 5)
    assert [item["error"]["code"] for item in results["items"] if item["error"]] == [
        "idempotency_conflict",
        "idempotency_conflict",
        "invalid_request",
        "feature_not_found",
        "invalid_request",
    ]
    assert results["items"][5]["error"]["detail"].startswith("quantity: ")
    assert (await total())["used"] == "4"


async def test_a_batch_has_a_thousand_reports_at_most(admin, path, total):
    items = [{**USAGE, "quantity": 1, "idempotency_key": f"record-{n}"} for n in range(1001)]
    assert (await admin.post(f"{path}/batch", json={"items": items})).status_code == 422
    assert (await admin.post(f"{path}/batch", json={"items": items[:1000]})).json()["recorded"] == 1000
    assert (await admin.post(f"{path}/batch", json={"items": []})).status_code == 422
    assert (await total())["used"] == "1000"


async def test_batches_with_the_same_keys_at_the_same_time_record_each_once(admin, path, total):
    items = [{**USAGE, "quantity": 1, "idempotency_key": f"record-{n}"} for n in range(100)]
    batches = [random.sample(items, len(items)) for _ in range(8)]
    answers = await asyncio.gather(*(admin.post(f"{path}/batch", json={"items": batch}) for batch in batches))
    assert sum(answer.json()["recorded"] for answer in answers) == 100
    assert (await total())["used"] == "100"


async def test_counters_are_the_sums_of_the_ledger(app, tenant, admin, path, ran, runs):
    """Whatever comes in which order, however often: reports, repetitions, reversals, runs."""
    dice = random.Random(7)  # noqa: S311  # the same each time
    keys = [f"key-{n}" for n in range(40)]
    sent = [
        {"feature_key": dice.choice(["messages", "cost"]), "quantity": f"{n}.{n:06}", "idempotency_key": key}
        for n, key in enumerate(keys, 1)
    ] * 2
    dice.shuffle(sent)
    answers = [await admin.post(path, json=each) for each in sent]
    ids = {answer.json()["id"] for answer in answers}
    for record in dice.sample(sorted(ids), 10) * 2:
        key = {"idempotency_key": f"undo-{record}"}
        assert (await admin.post(f"{path}/records/{record}/reverse", json=key)).status_code in {200, 201}
    for _ in range(3):
        await ran(("gpt-5.1", 11, 7), ("gpt-5-mini", 3, 2))
    await runs(3)
    async with app.state.resources.database.begin() as db:
        sums = await db.execute(
            select(UsageRecord.feature_key, UsageRecord.period_start, func.sum(UsageRecord.quantity))
            .where(UsageRecord.tenant_id == tenant)
            .group_by(UsageRecord.feature_key, UsageRecord.period_start)
        )
        totals = await db.execute(
            select(UsageTotal.feature_key, UsageTotal.period_start, UsageTotal.used).where(
                UsageTotal.tenant_id == tenant
            )
        )
        assert sorted(map(tuple, sums)) == sorted(map(tuple, totals))


async def test_viewers_report_nothing(reader, path):
    for answer in (
        await reader.post(path, json=USAGE),
        await reader.post(f"{path}/batch", json={"items": [USAGE]}),
        await reader.post(f"{path}/records/{uuid4()}/reverse", json={"idempotency_key": "x"}),
    ):
        assert answer.status_code == 403
    assert (await reader.get(f"{path}/totals")).status_code == 200


async def test_records_are_listed_by_page(admin, path, report):
    ids = [(await report(quantity=n)).json()["id"] for n in range(1, 6)]
    await report(feature_key="cost", quantity=1)
    listed, cursor = [], None
    while cursor is not None or not listed:
        query = {"limit": 2, "feature_key": "messages"} | ({"cursor": cursor} if cursor else {})
        page = (await admin.get(f"{path}/records", params=query)).json()
        listed += [record["id"] for record in page["items"]]
        cursor = page["next_cursor"]
    assert listed == ids[::-1]


async def test_the_price_of_a_run_is_that_of_its_models(ran, runs, total):
    """Cents for a million tokens: 125, 1,000 and 12.5 for what was cached; 25 and 200 for the small model."""
    await ran(("gpt-5.1", 1_000_002, 1000), ("gpt-5-mini", 2_000_002, 0), ("unknown-model", 1_000_002, 0))
    await runs(1)
    cached = Decimal("0.000025") * 2 + Decimal("0.000005")
    assert Decimal((await total("cost"))["used"]) == 125 + 1 + 50 + 125 + cached
    assert ((await total())["used"], (await total("output_tokens"))["used"]) == ("1", "1000")


async def test_what_a_tenants_own_key_uses_is_counted_and_costs_nothing(ran, runs, total):
    used = {"requests": 1, "cached_tokens": 0, "reasoning_tokens": 0}
    own = {"own_key_input_tokens": 1_000_000, "own_key_output_tokens": 2000}
    await ran(
        usage=[
            {**used, **own, "model": "gpt-5.1", "input_tokens": 3_000_000, "output_tokens": 2000},
            {**used, **own, "model": "gpt-5-mini", "input_tokens": 1_000_000, "output_tokens": 2000},
        ]
    )
    await runs(1)
    assert Decimal((await total("cost"))["used"]) == 2 * 125
    assert ((await total("input_tokens"))["used"], (await total("output_tokens"))["used"]) == (
        "4000000",
        "4000",
    )


async def test_a_call_that_is_no_run_is_no_message(ran, runs, total):
    await ran(("text-embedding-3-small", 600, 0), messages=0)
    await runs(1)
    assert ((await total())["used"], (await total("input_tokens"))["used"]) == ("0", "600")


def at(text):
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("time", "start", "end"),
    [
        ("2026-01-31", "2026-01-31", "2026-02-28"),
        ("2026-02-27", "2026-01-31", "2026-02-28"),
        ("2026-02-28", "2026-02-28", "2026-03-31"),
        ("2026-03-31", "2026-03-31", "2026-04-30"),
        ("2028-02-29", "2028-02-29", "2028-03-31"),
        ("2025-12-30", "2025-11-30", "2025-12-31"),
    ],
)
def test_periods_are_counted_from_their_anchor(time, start, end):
    assert anchored_period(at("2025-10-31"), at(time)) == (at(start), at(end))


SECONDS = st.integers(min_value=0, max_value=10 * 365 * 86_400)


@given(anchor=SECONDS, time=SECONDS, months=st.sampled_from([1, 12]))
def test_every_time_is_in_one_period_and_periods_follow_each_other(anchor, time, months):
    anchor, time = (at("2020-01-01") + timedelta(seconds=seconds) for seconds in (anchor, time))
    period = anchored_period(anchor, time, months)
    assert period.start <= time < period.end
    assert anchored_period(anchor, period.end, months).start == period.end


def a_subscription(**columns):
    proper = {
        "plan_code": "pro",
        "status": "active",
        "started_at": at("2026-01-31"),
        "current_period_start": at("2026-02-28"),
        "current_period_end": at("2026-03-31"),
    }
    return Subscription(**{**proper, **columns})


@pytest.mark.parametrize(
    ("time", "start", "end"),
    [
        ("2026-03-30", "2026-02-28", "2026-03-31"),
        # Nothing has told of the next period, and it has begun.
        ("2026-03-31", "2026-03-31", "2026-04-30"),
        ("2026-02-27", "2026-01-31", "2026-02-28"),
    ],
)
def test_a_period_is_the_one_that_stripe_tells_of_or_next_to_it(time, start, end):
    assert period_of(a_subscription(), at(time)) == (at(start), at(end))


def test_a_trial_is_a_period_of_its_own():
    trial = a_subscription(
        started_at=at("2026-03-01"),
        trial_end=at("2026-03-08"),
        current_period_start=at("2026-03-08"),
        current_period_end=at("2026-04-08"),
    )
    assert period_of(trial, at("2026-03-05")) == (at("2026-03-01"), at("2026-03-08"))
    before = a_subscription(
        started_at=at("2026-03-01"),
        trial_end=at("2026-03-08"),
        current_period_start=at("2026-03-01"),
        current_period_end=at("2026-03-08"),
    )
    assert period_of(before, at("2026-03-09")) == (at("2026-03-08"), at("2026-04-08"))


def test_the_end_of_a_period_belongs_to_the_next_and_a_day_of_grace_to_the_last():
    plans = TenantPlans(uuid4(), [a_subscription(stripe_subscription_id="sub_1")])
    end = at("2026-03-31")
    assert assign_period(plans, end, end).period_start == end
    last = end - timedelta(microseconds=1)
    assert assign_period(plans, last, end + DAY - timedelta(seconds=1))[:2] == (at("2026-02-28"), False)
    assert assign_period(plans, last, end + DAY)[:2] == (end, True)
