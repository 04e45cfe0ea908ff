"""What `scripts.chaos billing` finds: a check that finds nothing must have looked."""

from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from importlib import import_module
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
from servicekit.database import Database
from sqlalchemy import text
from starter_cli.paths import CHECKOUT


@pytest.fixture(scope="module")
def chaos() -> Iterator[Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(CHECKOUT))
        yield SimpleNamespace(
            billing=import_module("scripts.chaos.billing"),
            checks=import_module("scripts.chaos.billing_checks"),
        )


@pytest.fixture(scope="module")
def database_url(migrated: Callable[[str], str]) -> str:
    return migrated("billing-webhook")


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    database = Database(database_url, name="test")
    yield database
    await database.close()


EVENT = (
    "insert into stripe_events (id, dedupe_key, type, livemode, created, payload)"
    " values (:id, :id, 'invoice.paid', false, now(), '')"
)
DISPATCH = (
    "insert into stripe_dispatches (id, event_id, event_created, handler, ordering_key, status)"
    " values (gen_random_uuid(), :id, now(), 'billing_sync', 'cus_1', :status)"
)
PUBLISHED = (
    "insert into billing_events (id, tenant_id, seq, type, data) values (gen_random_uuid(), :tenant, :seq,"
    ' \'billing.subscription.changed.v1\', \'{"subscription_id": "sub_1", "version": 1}\')'
)


async def test_finds_what_is_lost_open_doubled_and_missing(chaos: Any, database: Database) -> None:
    tenant = uuid4()
    async with database.begin() as db:
        for name in ("evt_done", "evt_open", "evt_undispatched"):
            await db.execute(text(EVENT), {"id": name})
        await db.execute(text(DISPATCH), {"id": "evt_done", "status": "completed"})
        await db.execute(text(DISPATCH), {"id": "evt_open", "status": "dead"})
        for seq in (1, 3):
            await db.execute(text(PUBLISHED), {"tenant": tenant, "seq": seq})
    history = [{"id": name} for name in ("evt_done", "evt_open", "evt_undispatched", "evt_lost")]
    errors = await chaos.checks.webhooks(database, history)
    assert {name: number for name, number in errors.items() if number} == {
        "webhooks lost": 1,
        "dispatches not completed": 1,
        "events without their dispatch": 1,
        "changes published twice": 1,
        "holes in the sequences of tenants": 1,
    }


async def test_finds_usage_that_was_lost(chaos: Any, database: Database) -> None:
    records = [chaos.billing.make_record(number) for number in range(3)]
    errors = await chaos.checks.ledger(database, str(uuid4()), records)
    assert errors["usage records lost"] == 3


def test_drops_some_events_doubles_some_and_keeps_the_rest(chaos: Any) -> None:
    outcome = chaos.billing.Outcome()
    history = [{"id": str(number)} for number in range(2000)]
    sent = Counter(event["id"] for event in chaos.billing.deliveries(history, outcome))
    assert set(sent.values()) == {1, 2}
    assert 2000 - len(sent) == outcome.sent["webhooks dropped"] > 0
    assert sum(times == 2 for times in sent.values()) == outcome.sent["webhooks doubled"] > 0


def test_reports_every_record_once(chaos: Any) -> None:
    records = [chaos.billing.make_record(number) for number in range(1234)]
    assert sum(number for *_, number in chaos.billing.requests_of(records, "")) == 1234
