import asyncio
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from billing_webhook.main import create_app
from testkit.app import client, running

ZERO = {
    "runs": 0,
    "requests": 0,
    "input_tokens": 0,
    "output_tokens": 0,
    "cached_tokens": 0,
    "reasoning_tokens": 0,
}


async def test_a_run_is_counted_in_all_and_by_model(ran, runs, tenant):
    await ran(("gpt-large", 100, 20), ("gpt-small", 10, 5))
    answer = await runs(1)
    assert answer["tenant_id"] == str(tenant)
    assert answer["totals"] == {
        "runs": 1,
        "requests": 2,
        "input_tokens": 110,
        "output_tokens": 25,
        "cached_tokens": 4,
        "reasoning_tokens": 2,
    }
    large, small = answer["models"]
    assert (large["model"], large["runs"], large["input_tokens"]) == ("gpt-large", 1, 100)
    assert (small["model"], small["runs"], small["output_tokens"]) == ("gpt-small", 1, 5)


async def test_runs_add_up_however_they_ended(ran, runs):
    for status in ("completed", "failed", "cancelled"):
        await ran(("gpt", 1_000_000_000_000, 1), status=status)
    answer = await runs(3)
    assert answer["totals"]["input_tokens"] == 3_000_000_000_000
    assert [model["runs"] for model in answer["models"]] == [3]


async def test_an_event_that_comes_twice_counts_once(ran, runs):
    first = await ran(("gpt", 7, 3))
    await ran(("gpt", 7, 3), event_id=first)
    await ran(("gpt", 1, 1))
    answer = await runs(2)
    assert answer["totals"]["input_tokens"] == 8


async def test_a_run_in_two_events_counts_once(ran, runs):
    run = str(uuid4())
    await ran(("gpt", 7, 3), run_id=run)
    await ran(("gpt", 7, 3), run_id=run)
    await ran(("gpt", 1, 1))
    answer = await runs(2)
    assert answer["totals"]["input_tokens"] == 8


async def test_a_run_that_used_nothing_leaves_nothing(ran, runs):
    await ran()
    await ran(("gpt", 1, 1))
    answer = await runs(1)
    assert answer["totals"]["runs"] == 1


async def test_without_runs_all_is_zero(usage):
    answer = await usage()
    assert (answer["totals"], answer["models"]) == (ZERO, [])


async def test_the_period_is_this_month_unless_it_is_named(usage):
    now = datetime.now(UTC)
    answer = await usage()
    start, end = (datetime.fromisoformat(answer[name]) for name in ("period_start", "period_end"))
    assert start == now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    assert start <= now < end
    assert (end.day, end.hour, end - start >= timedelta(days=28)) == (1, 0, True)
    assert end - start <= timedelta(days=31)


async def test_a_month_in_the_past_can_be_named_by_its_end(usage):
    answer = await usage(to="2026-03-01T00:00:00Z")
    assert (answer["period_start"], answer["period_end"]) == ("2026-02-01T00:00:00Z", "2026-03-01T00:00:00Z")


async def test_a_period_has_its_start_and_not_its_end(ran, runs, usage):
    at = datetime(2026, 3, 10, tzinfo=UTC)
    await ran(("gpt", 5, 0), completed_at=at.isoformat())
    await ran(("gpt", 1, 0))
    this_month = await runs(1)
    assert this_month["totals"]["input_tokens"] == 1
    day = timedelta(days=1)
    assert (await usage(**{"from": at.isoformat(), "to": (at + day).isoformat()}))["totals"]["runs"] == 1
    assert (await usage(**{"from": (at - day).isoformat(), "to": at.isoformat()}))["totals"]["runs"] == 0


async def test_times_may_name_a_zone_and_are_answered_in_utc(usage):
    answer = await usage(**{"from": "2026-03-10T02:00:00+02:00", "to": "2026-03-11"})
    assert (answer["period_start"], answer["period_end"]) == ("2026-03-10T00:00:00Z", "2026-03-11T00:00:00Z")


async def test_a_period_that_makes_no_sense_is_refused(reader, tenant):
    for query, code in (
        ({"from": "2026-03-02", "to": "2026-03-01"}, "invalid_period"),
        ({"from": "2026-03-01", "to": "2026-03-01"}, "invalid_period"),
        ({"from": "2025-01-01", "to": "2026-03-01"}, "invalid_period"),
        ({"from": "2199-12-31"}, "invalid_period"),
        ({"from": "yesterday"}, "invalid_request"),
        ({"to": "0001-01-01T00:00:00+14:00"}, "invalid_request"),
        ({"to": "9999-12-31T23:59:59-14:00"}, "invalid_request"),
        ({"from": "1e300"}, "invalid_request"),
    ):
        answer = await reader.get(f"/api/v1/billing/tenants/{tenant}/usage", params=query)
        assert (answer.status_code, answer.json()["code"]) == (422, code), query


async def test_hides_other_tenants(reader, ran):
    stranger = uuid4()
    await ran(("gpt", 1, 1), tenant_id=str(stranger))
    answer = await reader.get(f"/api/v1/billing/tenants/{stranger}/usage")
    assert (answer.status_code, answer.json()["code"]) == (404, "tenant_not_found")


async def test_counts_only_the_runs_of_the_tenant(ran, runs):
    await ran(("gpt", 1, 1), tenant_id=str(uuid4()))
    await ran(("gpt", 3, 1))
    assert (await runs(1))["totals"]["input_tokens"] == 3


async def test_asks_for_a_token_and_for_the_permission(app, issuer, tenant):
    path = f"/api/v1/billing/tenants/{tenant}/usage"
    async with client(app) as nobody:
        assert (await nobody.get(path)).status_code == 401
    async with client(app, issuer.token(tenant_id=tenant, scope="tools:read")) as narrow:
        assert (await narrow.get(path)).json()["code"] == "insufficient_scope"


async def test_the_ledger_cannot_be_changed(app, ran, runs):
    await ran(("gpt", 1, 1))
    await runs(1)
    for change in ("update usage_entries set input_tokens = 0", "delete from usage_entries"):
        with pytest.raises(Exception, match="usage_entries is append-only"):
            async with app.state.resources.database.begin() as db:
                await (await db.connection()).exec_driver_sql(change)
    assert (await runs(1))["totals"]["input_tokens"] == 1


async def test_many_replicas_count_an_event_once(settings, ran, runs):
    """All read as one group, and what one of them has handled the others leave alone."""
    async with running(create_app(settings)), running(create_app(settings)):
        event_ids = await asyncio.gather(*(ran(("gpt", 1, 0)) for _ in range(20)))
        await asyncio.gather(*(ran(("gpt", 1, 0), event_id=event_id) for event_id in event_ids))
        await ran(("gpt", 100, 0))
        assert (await runs(21))["totals"] == {
            **ZERO,
            "runs": 21,
            "requests": 21,
            "input_tokens": 120,
            "cached_tokens": 42,
            "reasoning_tokens": 21,
        }


async def test_what_came_while_the_service_was_down_is_counted(settings, issuer, tenant, ran, until):
    await ran(("gpt", 3, 1))
    async with running(create_app(settings)) as app, client(app, issuer.token(tenant_id=tenant)) as reader:

        async def counted():
            answer = await reader.get(f"/api/v1/billing/tenants/{tenant}/usage")
            return answer.json()["totals"]["input_tokens"]

        assert await until(counted) == 3
