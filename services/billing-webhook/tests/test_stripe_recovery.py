"""What the webhook never got is found, and what is old is redacted."""

import json
from functools import partial
from uuid import uuid4

import pytest
from billing_webhook.main import create_app
from billing_webhook.stripe_events import backfill, drift, schedule
from billing_webhook.worker import workers
from prometheus_client import REGISTRY
from servicekit.app import create_service
from testkit.app import client, running

from .stripe_api import THIN_EVENTS, with_stripe
from .stripe_objects import NOW, a_subscription

EVENTS = "/v1/events"
RECENT_DRIFT = "select * from stripe_cursors where name = 'drift' and started_at > now() - interval '1 hour'"
LATER = "update stripe_cursors set started_at = now() - interval '16 minutes' where name = 'events'"
OVERDUE = "update stripe_dispatches set next_attempt_at = now() - interval '20 min' where status = 'pending'"
SUBSCRIPTIONS = "/v1/subscriptions"


@pytest.fixture(scope="module")
def settings(settings, stripe_server):
    return with_stripe(settings, stripe_server)


@pytest.fixture
def stripe_client(app, settings):
    return settings.stripe(app.state.resources.http)


@pytest.fixture
def run(database, settings, stripe_client):
    return lambda job, **options: job(database, stripe_client, settings, **options)


@pytest.fixture
def status(rows):
    async def status():
        subscriptions = await rows("select status from subscriptions where stripe_subscription_id = 'sub_1'")
        return [row.status for row in subscriptions]

    return status


async def test_an_event_that_never_came_is_fetched_and_processed(
    api, customer, make_event, post_event, settled, run, status
):
    api.has(a_subscription())
    known, lost = make_event(created=NOW), make_event(created=NOW - 1)
    await post_event(known)
    api.lists[EVENTS] = [known, lost]
    # The service's own job may have come first.
    assert await run(backfill.backfill) in {0, 1}
    assert {row.event_id for row in await settled("completed", number=2)} == {known["id"], lost["id"]}
    assert await status() == ["active"]
    assert await run(backfill.backfill) == 0


async def test_the_worker_fetches_what_is_missing_once_in_a_quarter_of_an_hour(
    api, customer, make_event, settled, execute, app, until
):
    api.has(a_subscription())

    async def has_listed():
        return api.requests.count(f"GET {EVENTS}")

    before = await until(has_listed)
    api.lists[EVENTS] = [make_event()]
    app.state.resources.database.wakeup("events").set()
    await execute(LATER)
    app.state.resources.database.wakeup("events").set()
    await settled("completed")
    app.state.resources.database.wakeup("events").set()
    assert api.requests.count(f"GET {EVENTS}") == before + 1


async def test_a_thin_event_that_never_came_is_fetched_without_its_data(api, settled, rows, run):
    """No snapshot tells of it, so the list of snapshots does not either."""
    api.lists[THIN_EVENTS] = [
        {
            "id": "evt_thin",
            "object": "v2.core.event",
            "created": "2026-11-20T10:00:00.000Z",
            "livemode": False,
            "type": "v1.billing.meter.no_meter_found",
            "data": {"reason": {"error_count": 1}},
        }
    ]
    assert await run(backfill.backfill) in {0, 1}
    await settled("completed")
    [row] = await rows("select payload, headers from stripe_events")
    assert "data" not in json.loads(row.payload)
    assert row.headers == {"backfill": True}
    assert await run(backfill.backfill) == 0


async def test_drift_is_looked_for_once_a_day(api, customer, app, rows, until, execute):
    api.lists[SUBSCRIPTIONS] = [a_subscription().to_dict()]

    async def begun():
        app.state.resources.database.wakeup("events").set()
        return await rows(RECENT_DRIFT)

    [first] = await until(begun)
    assert await begun() == [first]
    await execute("update stripe_cursors set started_at = now() - interval '25 hours' where name = 'drift'")

    async def is_counted():
        return await begun() and REGISTRY.get_sample_value("stripe_subscriptions_drifted") == 1

    assert await until(is_counted)


async def test_stripe_says_that_it_failed_to_send_and_the_events_are_fetched(
    api, customer, make_event, post_event, settled, until, rows
):
    api.has(a_subscription())
    await until(lambda: rows("select * from stripe_cursors where name = 'events'"))
    api.lists[EVENTS] = [make_event(id="evt_unsent")]
    resolved = "v2.core.health.event_generation_failure.resolved"
    await post_event(
        {
            "id": "evt_health",
            "object": "v2.core.event",
            "created": "2026-11-20T10:00:00.000Z",
            "livemode": False,
            "type": resolved,
        }
    )
    assert {row.event_id for row in await settled("completed", number=2)} == {"evt_health", "evt_unsent"}


async def test_drift_is_reported_and_applied_only_on_request(api, customer, tenant, run, status, make_event):
    api.lists[SUBSCRIPTIONS] = [a_subscription().to_dict()]
    [change] = await run(drift.reconcile)
    assert (change.subscription_id, change.tenant_id, change.differences) == (
        "sub_1",
        tenant,
        ("not stored",),
    )
    assert await status() == []
    assert [each.is_applied for each in await run(drift.reconcile, is_applied=True)] == [True]
    assert await status() == ["active"]
    assert await run(drift.reconcile) == []

    api.lists[SUBSCRIPTIONS] = [a_subscription(status="past_due").to_dict()]
    [change] = await run(drift.reconcile)
    assert change.differences == ("status",)

    api.lists[SUBSCRIPTIONS] = []
    [change] = await run(drift.reconcile, is_applied=True)
    assert (change.differences, change.is_applied, await status()) == (("ended",), True, ["canceled"])


async def test_a_customer_that_nobody_knows_is_drift_that_is_not_applied(api, run):
    api.lists[SUBSCRIPTIONS] = [a_subscription(customer="cus_of_nobody").to_dict()]
    [found] = await run(drift.reconcile, is_applied=True)
    assert (found.differences, found.is_applied) == (("customer unknown",), False)


async def test_payloads_are_redacted_after_90_days_and_ids_stay(
    post_event, make_event, execute, rows, database
):
    for name, days in (("old", 91), ("young", 89)):
        await post_event(make_event("from.the_future", id=f"evt_{name}"))
        await execute(
            "update stripe_events set received_at = now() - make_interval(days => :days) where id = :id",
            days=days,
            id=f"evt_{name}",
        )
    assert await schedule.redact_payloads(database) == 1
    events = await rows("select id from stripe_events where payload is null")
    assert [row.id for row in events] == ["evt_old"]
    assert (await post_event(make_event(id="evt_old"))).json()["duplicate"] is True


class TestReadiness:
    """A process of workers alone that does not keep up is not ready; one with the webhook stays ready."""

    @pytest.fixture
    async def standalone(self, settings):
        alone = partial(workers, is_standalone=True)
        async with running(create_service("billing-webhook", settings, workers=alone)) as app:
            yield app

    async def test_a_dispatch_that_is_due_for_long_makes_it_unready(
        self, app, standalone, customer, api, post_event, make_event, execute, until, settled
    ):
        # Somebody holds the lease of the customer, and so the next one waits.
        api.has(a_subscription())
        await post_event(make_event(id="evt_1"))
        await settled("completed")
        await execute(
            "update stripe_dispatches set status = 'running', lease_token = :token,"
            " leased_until = now() + interval '1 hour'",
            token=uuid4(),
        )
        await post_event(make_event(id="evt_2"))
        await execute(OVERDUE)

        async with client(standalone.state.internal) as inside, client(app.state.internal) as answering:

            async def is_unready():
                standalone.state.resources.database.wakeup("stripe_dispatches").set()
                answer = await inside.get("/readyz")
                return answer.status_code == 503 and answer.json()["checks"]["stripe-dispatches"] != "ok"

            assert await until(is_unready)
            assert (await answering.get("/readyz")).json()["checks"]["stripe-dispatches"] == "ok"
            assert REGISTRY.get_sample_value("stripe_dispatch_oldest_due_seconds") > 900
            await execute("update stripe_dispatches set status = 'completed' where status = 'running'")

            async def is_ready():
                standalone.state.resources.database.wakeup("stripe_dispatches").set()
                return (await inside.get("/readyz")).status_code == 200

            assert await until(is_ready)


async def test_where_billing_is_off_events_are_stored_and_wait(
    settings, customer, post_event, make_event, rows
):
    assert (await post_event(make_event())).status_code == 202
    off = settings.model_copy(update={"enable_billing": False})
    async with running(create_app(off)) as app:
        assert "stripe-dispatches" not in app.state.resources.checks
