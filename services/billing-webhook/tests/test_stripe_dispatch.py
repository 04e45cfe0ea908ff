"""Stored events are processed: fetched anew, applied once, tried again, or left for an operator."""

import asyncio
import json
from uuid import uuid4

import pytest
from billing_webhook.main import create_app
from billing_webhook.models import StripeDispatch
from billing_webhook.stripe_events import queue
from billing_webhook.stripe_events.handlers import HANDLERS
from billing_webhook.stripe_events.queue import Claim, LeaseLost
from billing_webhook.stripe_events.retries import Outcome
from sqlalchemy import event
from stripe import WebhookSignature
from testkit.app import client, running

from .stripe_api import DISPATCHES, MAP_CUSTOMER, with_stripe
from .stripe_objects import NOW, a_subscription, an_invoice

MORE_ATTEMPTS = "select id from stripe_dispatches where attempts > :number"


@pytest.fixture(scope="module")
def settings(settings, stripe_server):
    return with_stripe(settings, stripe_server)


@pytest.fixture
def subscription_status(rows):
    async def status():
        subscriptions = await rows(
            "select status from subscriptions where stripe_subscription_id is not null"
        )
        return [row.status for row in subscriptions]

    return status


async def test_an_event_is_applied_as_stripe_has_its_object_now(
    api, customer, tenant, post_event, make_event, settled, rows, subscription_status
):
    api.has(a_subscription(status="past_due"))
    # What the event contains is older.
    stale = {"id": "sub_1", "object": "subscription", "customer": "cus_1", "status": "active"}
    await post_event(make_event(data={"object": stale}, api_version="2020-08-27"))
    [dispatch] = await settled("completed")
    assert (dispatch.tenant_id, dispatch.attempts, dispatch.last_error) == (tenant, 1, None)
    assert await subscription_status() == ["past_due"]
    published = await rows("select type from billing_events order by seq")
    assert [row.type for row in published] == [
        "billing.subscription.changed.v1",
        "billing.entitlements.changed.v1",
        "billing.access.changed.v1",
    ]


async def test_a_payment_that_needs_an_action_is_announced_once_for_each_attempt(
    api, customer, post_event, make_event, settled, rows
):
    invoice = {"id": "in_1", "object": "invoice", "customer": "cus_1"}
    for number, state in enumerate(({"attempt_count": 1}, {"attempt_count": 1}, {"status": "paid"}), 1):
        api.has(an_invoice(**state))
        await post_event(make_event("invoice.payment_action_required", data={"object": invoice}))
        await settled("completed", number=number)
    published = await rows("select type, data from billing_events order by seq")
    assert [row.type.removeprefix("billing.invoice.").removesuffix(".v1") for row in published] == [
        "payment_failed",
        "payment_action_required",
        "paid",
    ]
    assert published[1].data["hosted_invoice_url"] == "https://invoice.example/in_1"


async def test_events_out_of_order_end_in_the_last_state(
    api, customer, post_event, make_event, settled, subscription_status
):
    """An older event once overwrote newer state: what was canceled became active again."""
    api.has(a_subscription(status="canceled", ended_at=NOW))
    for type_, age in (("deleted", 0), ("updated", 60), ("created", 120)):
        old = {"id": "sub_1", "object": "subscription", "customer": "cus_1", "status": "active"}
        event = make_event(f"customer.subscription.{type_}", created=NOW - age, data={"object": old})
        await post_event(event)
    await settled("completed", number=3)
    assert await subscription_status() == ["canceled"]


async def test_the_tenant_of_an_invoice_is_that_of_its_customer(
    api, customer, tenant, post_event, make_event, settled, rows
):
    """The tenant was once looked for in the invoice's metadata only, where real invoices do not have it."""
    invoice = an_invoice(customer="cus_1", status="paid", amount_paid=1900)
    api.has(invoice)
    await post_event(make_event("invoice.paid", data={"object": invoice.to_dict()}))
    [dispatch] = await settled("completed")
    assert dispatch.tenant_id == tenant
    assert [row.tenant_id for row in await rows("select tenant_id from invoices")] == [tenant]


async def test_an_object_that_stripe_has_no_more_is_deleted(
    api, customer, post_event, make_event, settled, rows, subscription_status
):
    api.has(a_subscription())
    await post_event(make_event(created=NOW))
    await settled("completed")
    api.objects.clear()
    await post_event(make_event("customer.subscription.deleted", created=NOW + 1))
    await settled("completed", number=2)
    assert await subscription_status() == ["canceled"]


async def test_an_old_event_of_an_object_that_cannot_be_fetched_is_not_applied(
    api, customer, post_event, make_event, settled, subscription_status
):
    api.has(a_subscription())
    await post_event(make_event(created=NOW))
    await settled("completed")
    api.objects.clear()
    await post_event(make_event(created=NOW - 60))
    await settled("completed", number=2)
    assert await subscription_status() == ["active"]


async def test_the_same_state_again_is_published_once(api, customer, post_event, make_event, settled, rows):
    api.has(a_subscription())
    for _ in range(3):
        await post_event(make_event())
    await settled("completed", number=3)
    assert len(await rows("select * from billing_events")) == 2


async def test_what_has_failed_is_processed_later_and_published_once(
    api, customer, post_event, make_event, settled, hurry, rows
):
    """Stripe's repetition of a failed event was once answered as a duplicate, and the event never processed.

    And an event that was processed at a later attempt was never published.
    """
    api.has(a_subscription())
    api.failures.append((429, {}))
    event = make_event()
    await post_event(event)
    [dispatch] = await settled("failed")
    assert dispatch.last_error.startswith("RateLimitError: status 429")
    assert dispatch.next_attempt_at > dispatch.created_at
    assert (await post_event(event)).json()["duplicate"] is True
    await hurry()
    [dispatch] = await settled("completed")
    assert (dispatch.attempts, dispatch.last_error) == (2, None)
    assert len(await rows("select id from billing_events")) == 2


async def test_a_tenants_second_subscription_waits_for_the_end_of_the_first(
    api, customer, post_event, make_event, settled, hurry
):
    api.has(a_subscription())
    await post_event(make_event(id="evt_1"))
    await settled("completed")
    api.has(a_subscription(id="sub_2"))
    second = {"id": "sub_2", "object": "subscription", "customer": "cus_1"}
    await post_event(make_event(id="evt_2", data={"object": second}))
    [_, waiting] = await settled("completed", "failed", number=2)
    assert (waiting.attempts, waiting.waits, waiting.last_error) == (0, 1, "SecondSubscription: sub_2")
    api.has(a_subscription(status="canceled", ended_at=NOW))
    await post_event(make_event("customer.subscription.deleted", id="evt_3"))
    await settled("completed", "failed", number=3)
    await hurry()
    await settled("completed", number=3)


async def test_logs_what_came_of_a_dispatch_and_nothing_of_the_event(
    api, customer, post_event, make_event, settled, caplog
):
    api.has(a_subscription())
    data = {"object": "subscription", "id": "sub_1", "customer": "cus_1", "email": "ann@canary.example"}
    await post_event(make_event(id="evt_1", data={"object": data}))
    await settled("completed")
    [record] = [record for record in caplog.records if record.message == "stripe dispatch"]
    logged = (record.event_id, record.handler, record.attempt, record.status)
    assert logged == ("evt_1", "billing_sync", 1, "completed")
    assert record.seconds >= 0
    assert "canary" not in str([vars(each) for each in caplog.records])


@pytest.mark.parametrize("status", [401, 403, 409, 429, 500])
async def test_what_an_operator_or_time_may_mend_is_tried_again(
    api, customer, post_event, make_event, settled, hurry, status
):
    """A key that is wrong, or may do too little, is replaced within a day; until then nothing is lost."""
    api.has(a_subscription())
    # The SDK itself tries again twice.
    api.failures.extend([(status, {})] * (3 if status in {409, 500} else 1))
    await post_event(make_event())
    [dispatch] = await settled("failed")
    assert f"status {status}" in dispatch.last_error
    await hurry()
    await settled("completed")


@pytest.mark.parametrize(("status", "headers"), [(400, {}), (503, {"Stripe-Should-Retry": "false"})])
async def test_what_stripe_will_never_answer_is_dead_at_once(
    api, customer, post_event, make_event, settled, status, headers
):
    api.failures.append((status, headers))
    await post_event(make_event())
    [dispatch] = await settled("dead")
    assert (dispatch.attempts, dispatch.next_attempt_at) == (1, None)


async def test_after_a_day_of_attempts_a_dispatch_is_dead(
    api, customer, post_event, make_event, settled, execute, hurry
):
    """Failures were once retried for ever, by every replica."""
    api.failures.extend([(429, {})] * 2)
    await post_event(make_event())
    await settled("failed")
    await execute("update stripe_dispatches set attempts = 11")
    await hurry()
    [dispatch] = await settled("dead")
    assert dispatch.attempts == 12


async def test_a_failure_of_our_own_is_dead_after_three_attempts(
    api, customer, post_event, make_event, settled, hurry, rows, until
):
    api.has(a_subscription("of_no_plan"))
    await post_event(make_event())
    for _ in range(2):
        [dispatch] = await settled("failed")
        assert dispatch.last_error.startswith("PlanOfPriceNotFound at plan_of")
        await hurry()
        assert await until(lambda number=dispatch.attempts: rows(MORE_ATTEMPTS, number=number))
    [dispatch] = await settled("dead")
    assert dispatch.attempts == 3


async def test_an_event_of_an_unknown_customer_waits_for_its_tenant(
    api, tenant, post_event, make_event, settled, execute, hurry
):
    api.has(a_subscription())
    await post_event(make_event())
    [dispatch] = await settled("unmapped")
    assert (dispatch.attempts, dispatch.waits) == (0, 1)
    await execute(MAP_CUSTOMER, tenant=tenant)
    await hurry()
    [dispatch] = await settled("completed")
    assert dispatch.tenant_id == tenant


async def test_an_event_of_no_tenant_is_parked_after_an_hour(
    api, post_event, make_event, settled, execute, hurry, rows, until
):
    api.has(a_subscription())
    await post_event(make_event())
    await settled("unmapped")
    await execute("update stripe_dispatches set waits = 17")
    await hurry()
    parked = "select * from stripe_dispatches where status = 'unmapped' and next_attempt_at is null"
    assert await until(lambda: rows(parked))


async def test_metadata_name_the_tenant_of_a_customer_that_is_not_stored(
    api, tenant, post_event, make_event, settled
):
    api.has(a_subscription(metadata={"tenant_id": str(tenant)}))
    await post_event(make_event())
    [dispatch] = await settled("completed")
    assert dispatch.tenant_id == tenant


async def test_metadata_of_another_tenant_write_nothing(
    api, customer, post_event, make_event, settled, subscription_status
):
    api.has(a_subscription(metadata={"tenant_id": str(uuid4())}))
    await post_event(make_event())
    [dispatch] = await settled("dead")
    assert dispatch.last_error.startswith("TenantMismatch")
    assert await subscription_status() == []


async def test_a_handler_cannot_write_rows_of_another_tenant(
    api, customer, post_event, make_event, settled, execute, subscription_status, hurry, rows, until
):
    """A failure while publishing once left the event failed and its dispatch completed."""
    await execute(
        "insert into subscriptions (id, tenant_id, stripe_subscription_id, plan_code, status, seats, items)"
        " values (gen_random_uuid(), gen_random_uuid(), 'sub_1', 'starter', 'active', 1, '[]')"
    )
    api.has(a_subscription(status="past_due"))
    await post_event(make_event())
    [dispatch] = await settled("failed")
    assert dispatch.last_error.startswith("ProgrammingError")
    assert await subscription_status() == ["active"]
    assert await rows("select id from billing_events") == []


async def test_one_handler_that_fails_does_not_hold_up_another(
    api, customer, post_event, make_event, rows, until, execute
):
    api.has(a_subscription())
    await post_event(make_event(id="evt_1"))
    await execute(
        "insert into stripe_dispatches (id, event_id, event_created, handler, ordering_key)"
        " values (gen_random_uuid(), 'evt_1', now(), 'entitlements', 'cus_1')"
    )

    async def both():
        statuses = {row.handler: row.status for row in await rows(DISPATCHES)}
        return statuses == {"billing_sync": "completed", "entitlements": "dead"}

    assert await until(both)


async def test_what_was_stored_before_the_process_died_is_processed_by_the_next(
    settings, api, customer, make_event, until, subscription_status, app
):
    """An event was once lost when the process died between storing it and processing it."""
    api.has(a_subscription())
    without = create_app(settings.model_copy(update={"enable_billing_retry_worker": False}))
    async with running(without) as dead, client(dead) as http:
        body = json.dumps(make_event())
        signed = WebhookSignature.generate_signature_header(body, "whsec_for_these_tests")
        headers = {"Content-Type": "application/json", "Stripe-Signature": signed}
        assert (await http.post("/webhooks/stripe", content=body, headers=headers)).status_code == 202
    assert await until(subscription_status) == ["active"]


async def test_two_replicas_process_a_customers_events_one_after_the_other(
    settings, api, tenant, execute, app, post_event, make_event, settled, rows, until
):
    """The lease of a customer is what an advisory lock would be, and it is held while Stripe answers, too."""
    # The job before this one compares subscriptions, and would read them from Stripe meanwhile.
    await until(lambda: rows("select * from stripe_cursors where name = 'payloads'"))
    customers = ["cus_1", "cus_2", "cus_3"]
    for number, customer in enumerate(customers, 1):
        await execute(MAP_CUSTOMER.replace("'cus_1'", f"'{customer}'"), tenant=uuid4())
        api.has(a_subscription(id=f"sub_{number}", customer=customer))
    api.delay = 0.05
    async with running(create_app(settings)):
        for age in range(4, 0, -1):
            for number, customer in enumerate(customers, 1):
                data = {"id": f"sub_{number}", "object": "subscription", "customer": customer}
                await post_event(make_event(created=NOW - age, data={"object": data}))
        await settled("completed", number=12)
    assert {api.at_once[f"/v1/subscriptions/sub_{number}"] for number in (1, 2, 3)} == {1}
    assert api.at_once["all"] > 1
    for customer in customers:
        query = "select event_created from stripe_dispatches where ordering_key = :key order by completed_at"
        processed = [row.event_created for row in await rows(query, key=customer)]
        assert processed == sorted(processed)


class TestQueue:
    """The queue, as two workers use it at once."""

    @pytest.fixture
    async def app(self, settings):
        async with running(create_app(settings.model_copy(update={"run_workers": False}))) as app:
            yield app

    @pytest.fixture
    def claim(self, database):
        async def claim(limit=10, handlers=HANDLERS):
            async with database.begin() as db:
                return await queue.claim(db, handlers, limit)

        return claim

    @pytest.fixture
    def store(self, post_event, make_event):
        async def store(*customers):
            for customer in customers:
                await post_event(
                    make_event(data={"object": {"object": "subscription", "customer": customer}})
                )

        return store

    async def test_an_event_is_stored_in_one_transaction_and_without_a_call_to_stripe(
        self, app, api, post_event, make_event
    ):
        begun = []
        engine = app.state.resources.database.engine.sync_engine
        record = begun.append
        event.listen(engine, "begin", record)
        assert (await post_event(make_event())).status_code == 202
        event.remove(engine, "begin", record)
        assert (len(begun), api.requests) == (1, [])

    async def test_two_workers_never_have_the_same(self, claim, store):
        await store(*(f"cus_{number}" for number in range(12)))
        claims = await asyncio.gather(*(claim(3) for _ in range(6)))
        ids = [each.dispatch.id for claimed in claims for each in claimed]
        assert (len(ids), len(set(ids))) == (12, 12)

    async def test_two_workers_never_have_the_same_customer(self, claim, store, database):
        await store("cus_1", "cus_1", "cus_1", "cus_2")
        claims = [each for claimed in await asyncio.gather(claim(), claim(), claim()) for each in claimed]
        assert sorted(each.dispatch.ordering_key for each in claims) == ["cus_1", "cus_2"]
        async with database.begin() as db:
            for each in claims:
                await queue.complete(db, each, None)
        assert [each.dispatch.ordering_key for each in await claim()] == ["cus_1"]

    async def test_a_lease_that_expired_is_claimed_again_and_the_late_write_refused(
        self, claim, store, execute, database
    ):
        """What a worker had begun when it died was once never processed again."""
        await store("cus_1")
        [late] = await claim()
        assert await claim() == []
        await execute("update stripe_dispatches set leased_until = now() - interval '1 s'")
        [again] = await claim()
        assert (again.dispatch.id, again.dispatch.attempts) == (late.dispatch.id, 2)
        for write in (
            lambda db: queue.complete(db, late, None),
            lambda db: queue.postpone(db, late, Outcome("failed", "late", 1.0)),
        ):
            with pytest.raises(LeaseLost):
                async with database.begin() as db:
                    await write(db)
        async with database.begin() as db:
            await queue.complete(db, again, None)

    async def test_what_a_newer_version_handles_is_left_to_it(self, claim, store):
        await store("cus_1")
        assert await claim(handlers=["another_handler"]) == []
        assert len(await claim()) == 1

    async def test_an_older_claim_of_the_same_dispatch_is_no_claim(self, claim, store, database):
        await store("cus_1")
        [one] = await claim()
        forged = Claim(one.dispatch, uuid4(), None)
        with pytest.raises(LeaseLost):
            async with database.begin() as db:
                await queue.complete(db, forged, None)
        async with database.begin() as db:
            assert (await db.get(StripeDispatch, one.dispatch.id)).status == "running"
