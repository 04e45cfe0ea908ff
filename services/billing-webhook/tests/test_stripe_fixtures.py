"""Recorded events: valid, one of each type, and through the route that Stripe calls."""

import json
from pathlib import Path

import httpx
import pytest
import stripe
from billing_webhook import entitlement_versions
from billing_webhook.main import create_app
from billing_webhook.stripe_events.fixtures import lint
from billing_webhook.stripe_events.handlers import HANDLERS
from testkit.live_server import serving

from .stream_helpers import reading
from .stripe_api import with_stripe

FOLDER = Path(__file__).parent / "fixtures" / "stripe"
FILES = sorted(FOLDER.glob("*.json"))
EVENTS = {file.stem: json.loads(file.read_text()) for file in FILES}
CUSTOMER = "cus_TestAcme000001"


@pytest.fixture(scope="module")
def settings(settings, stripe_server):
    return with_stripe(settings, stripe_server)


def test_every_fixture_is_valid():
    assert lint(FILES) == []


def test_there_is_one_of_each_type_that_has_a_handler():
    handled = {type_ for handler in HANDLERS.values() for type_ in handler.effects}
    assert handled - EVENTS.keys() == set()
    assert {event["type"] for event in EVENTS.values()} == EVENTS.keys()


@pytest.fixture
def problems(tmp_path):
    def problems(*events):
        for number, event in enumerate(events):
            text = event if isinstance(event, str) else json.dumps(event)
            (tmp_path / f"{number}.json").write_text(text)
        return [problem.partition(": ")[2] for problem in lint(sorted(tmp_path.glob("*.json")))]

    return problems


PAID = EVENTS["invoice.paid"]


@pytest.mark.parametrize(
    ("event", "problem"),
    [
        ("{", "is not JSON"),
        ([], "is not an event"),
        (PAID["data"]["object"], "is not an event"),
        ({**PAID, "livemode": True}, "is of live mode"),
        ({**PAID, "api_version": "2020-08-27"}, f"is of API version 2020-08-27, not {stripe.api_version}"),
        ({**PAID, "data": {"object": {}}}, "lacks data.object"),
        ({**PAID, "type": "from.the_future"}, "has a type without a handler: from.the_future"),
        ({**PAID, "created": "soon"}, "is not an event: created"),
        ({**PAID, "note": "sk_" + "live_4eC39HqLyjWDarjtT1zdp7dc"}, "contains a secret"),
        ({**PAID, "note": "whsec_" + "4eC39HqLyjWDarjtT1zdp7dc"}, "contains a secret"),
        *(
            ({key: value for key, value in PAID.items() if key != name}, f"lacks {name}")
            for name in ("id", "type", "api_version", "livemode", "created", "data")
        ),
    ],
)
def test_what_is_wrong_with_a_fixture_is_named(problems, event, problem):
    assert problems(event) == [problem]


def test_two_fixtures_with_one_id_are_refused(problems):
    assert problems(PAID, PAID) == ["has the id of 0.json"]


@pytest.mark.parametrize("name", EVENTS)
async def test_a_fixture_passes_the_route_and_its_handler(api, execute, tenant, post_event, settled, name):
    event = EVENTS[name]
    subject = event.get("data", {}).get("object", {})
    everything = [each["data"]["object"] for each in EVENTS.values() if "data" in each and each is not event]
    # As Stripe has it at the time of the event.
    api.has(*(each for each in [*everything, subject] if "id" in each))
    api.lists["/v1/entitlements/active_entitlements"] = subject.get("entitlements", {}).get("data", [])
    await execute(
        "insert into customers (stripe_customer_id, tenant_id) values (:id, :tenant)",
        id=CUSTOMER,
        tenant=tenant,
    )
    assert (await post_event(event)).json() == {"received": True, "duplicate": False}
    assert {row.attempts for row in await settled("completed")} <= {1, 2}


GRANTED = "entitlements.active_entitlement_summary.updated"


async def test_features_that_stripe_grants_are_a_new_version(
    api, database, execute, tenant, post_event, settled
):
    async def version():
        async with database.begin() as db:
            return await entitlement_versions.current(db, tenant)

    event = EVENTS[GRANTED]
    api.lists["/v1/entitlements/active_entitlements"] = event["data"]["object"]["entitlements"]["data"]
    await execute(
        "insert into customers (stripe_customer_id, tenant_id) values (:id, :tenant)",
        id=CUSTOMER,
        tenant=tenant,
    )
    before = await version()
    await post_event(event)
    await settled("completed")
    assert await version() == before + 1


STORY = {
    "customer.subscription.created": "subscription.changed entitlements.changed",
    "customer.subscription.trial_will_end": "trial.ending",
    "customer.subscription.updated": "subscription.changed entitlements.changed",
    "invoice.paid": "invoice.paid",
    "charge.refunded": "payment.refunded",
    "charge.dispute.created": "payment.disputed",
    "charge.dispute.closed": "payment.disputed",
    "customer.subscription.deleted": "subscription.changed entitlements.changed access.changed",
}


async def test_what_happens_to_a_tenant_is_in_its_stream_in_order(
    api, execute, tenant, post_event, settled, settings, issuer
):
    await execute(
        "insert into customers (stripe_customer_id, tenant_id) values (:id, :tenant)",
        id=CUSTOMER,
        tenant=tenant,
    )
    api.has(EVENTS["charge.refunded"]["data"]["object"])
    expected = []
    for number, (name, published) in enumerate(STORY.items(), 1):
        api.has(EVENTS[name]["data"]["object"])
        await post_event(EVENTS[name])
        await settled("completed", number=number)
        expected += published.split()
    # The free plan takes the place of what has ended.
    expected += ["subscription.changed", "entitlements.changed"]
    streaming = settings.model_copy(update={"enable_billing_stream": True, "run_workers": False})
    headers = {"Authorization": f"Bearer {issuer.token(tenant_id=tenant, role='viewer')}"}
    with serving(create_app(streaming)) as url:
        viewer = httpx.AsyncClient(base_url=url, headers=headers, timeout=60)
        async with viewer, reading(viewer, after=0) as stream:
            events = await stream.events(len(expected))
    types = [event.event.removeprefix("billing.").removesuffix(".v1") for event in events]
    assert types == expected
    assert [event.id for event in events] == list(range(1, len(expected) + 1))
