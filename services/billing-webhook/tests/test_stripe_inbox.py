"""What becomes of an event that is verified: stored once, with one dispatch for each handler."""

import asyncio
import hmac

import pytest
from billing_webhook.main import create_app
from billing_webhook.stripe_events.envelope import Envelope
from billing_webhook.stripe_events.receive import status_of
from prometheus_client import REGISTRY
from testkit.app import client, running

from .conftest import SECRET

DISPATCHES = "select event_id, handler, status, ordering_key from stripe_dispatches order by handler"


@pytest.fixture(scope="module")
async def app(settings):
    """Nothing but answering; the workers have no part in this."""
    async with running(create_app(settings.model_copy(update={"run_workers": False}))) as app:
        yield app


@pytest.fixture
def stored(rows):
    return lambda: rows("select * from stripe_events order by id")


def metric(name, **labels):
    return REGISTRY.get_sample_value(name, labels) or 0


async def test_an_event_is_stored_with_a_dispatch_and_where_it_came_from(
    post_event, make_event, stored, rows
):
    event = make_event(id="evt_1")
    assert (await post_event(event)).status_code == 202
    [row] = await stored()
    assert (row.status, row.account, row.dedupe_key) == ("received", None, "evt_1")
    assert abs(row.headers["t"] - event["created"]) < 60
    assert row.headers["request_id"]
    [signature] = row.headers["v1"]
    signed = f"{row.headers['t']}.".encode() + row.payload
    assert signature == hmac.new(SECRET.encode(), signed, "sha256").hexdigest()
    assert await rows(DISPATCHES) == [("evt_1", "billing_sync", "pending", "cus_1")]


async def test_an_event_that_comes_ten_times_at_once_is_dispatched_once(post_event, make_event, stored, rows):
    """An event was once lost when the process died between storing it and its dispatch."""
    event = make_event()
    answers = await asyncio.gather(*(post_event(event) for _ in range(10)))
    assert {answer.status_code for answer in answers} == {202}
    assert (len(await stored()), len(await rows(DISPATCHES))) == (1, 1)


async def test_events_of_the_other_mode_are_stored_and_not_processed(post_event, make_event, stored, rows):
    before = metric("stripe_events_ignored_total", reason="livemode")
    assert (await post_event(make_event(livemode=True))).status_code == 202
    assert [row.status for row in await stored()] == ["ignored_livemode"]
    assert await rows(DISPATCHES) == []
    assert metric("stripe_events_ignored_total", reason="livemode") == before + 1


@pytest.mark.parametrize("where", ["account", "context"])
async def test_events_of_other_accounts_are_stored_and_not_processed(
    settings, post_event, make_event, stored, rows, where
):
    assert (await post_event(make_event(**{where: "acct_other"}))).status_code == 202
    assert [(row.status, row.account) for row in await stored()] == [("ignored_account", "acct_other")]
    assert await rows(DISPATCHES) == []


async def test_events_of_an_allowed_account_are_processed(settings, make_event):
    allowing = settings.model_copy(update={"stripe_accounts": ["acct_ours"], "run_workers": False})

    ours, other = (Envelope.model_validate(make_event(account=f"acct_{name}")) for name in ("ours", "other"))
    assert (status_of(ours, allowing), status_of(other, allowing)) == ("received", "ignored_account")


async def test_types_without_a_handler_are_stored_and_not_processed(post_event, make_event, stored, rows):
    assert (await post_event(make_event("from.the_future.v9"))).status_code == 202
    assert [row.status for row in await stored()] == ["ignored_type"]
    assert await rows(DISPATCHES) == []


async def test_another_api_version_is_counted_and_processed_all_the_same(post_event, make_event, rows):
    before = metric("stripe_event_api_version_mismatch_total")
    assert (await post_event(make_event(api_version="2020-08-27"))).status_code == 202
    assert metric("stripe_event_api_version_mismatch_total") == before + 1
    assert len(await rows(DISPATCHES)) == 1


def a_notification(**changes):
    return {
        "id": "evt_thin",
        "object": "v2.core.event",
        "created": "2026-11-20T10:00:00.000Z",
        "livemode": False,
        "type": "v1.customer.subscription.updated",
        "snapshot_event": "evt_full",
        "related_object": {"id": "sub_1", "type": "subscription", "url": "/v1/subscriptions/sub_1"},
        **changes,
    }


@pytest.mark.parametrize("first", ["thin", "full"])
async def test_a_thin_event_and_its_twin_are_one(post_event, make_event, stored, rows, first):
    twins = [a_notification(), make_event(id="evt_full")]
    for event in twins if first == "thin" else reversed(twins):
        assert (await post_event(event)).status_code == 202
    [row] = await stored()
    assert row.id == f"evt_{first}"
    assert [dispatch.handler for dispatch in await rows(DISPATCHES)] == ["billing_sync"]


async def test_a_twin_that_is_ignored_takes_no_ones_place(post_event, make_event, rows):
    await post_event(a_notification(type="v1.customer.subscription.from_the_future"))
    await post_event(make_event(id="evt_full"))
    assert [row.event_id for row in await rows(DISPATCHES)] == ["evt_full"]


async def test_what_is_refused_is_counted_by_its_reason(stripe, stored):
    before = metric("stripe_events_rejected_total", reason="invalid_signature")
    answer = await stripe.post("/webhooks/stripe", content="{}", headers={"Content-Type": "application/json"})
    assert answer.status_code == 400
    assert metric("stripe_events_rejected_total", reason="invalid_signature") == before + 1
    assert await stored() == []


async def test_metrics_are_on_the_internal_port(app, post_event, make_event):
    await post_event(make_event())
    async with client(app.state.internal) as inside:
        exposed = (await inside.get("/metrics")).text
    for name in (
        "stripe_events_received_total",
        "stripe_events_rejected_total",
        "stripe_events_duplicate_total",
        "stripe_dispatches_total",
        "stripe_dispatch_attempts",
        "stripe_dispatch_oldest_due_seconds",
        "stripe_event_apply_seconds",
    ):
        assert f"# TYPE {name}" in exposed
