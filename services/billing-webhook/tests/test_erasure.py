"""The ledger when somebody has left for good, or a tenant is no more: all sums stay, and nobody is named."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from billing_webhook.models import (
    Budget,
    Command,
    Customer,
    ErasedEndUser,
    Reservation,
    UsageEntry,
    UsageRecord,
)
from servicekit import erasure_worker
from servicekit.erasure import ANONYMOUS_SUBJECT
from sqlalchemy import func, select, text
from testkit.app import client


@pytest.fixture
def publish_event(redis):
    """Publish to this service what happened in auth."""

    async def publish(type_, event_id=None, **data):
        entry = {
            "specversion": "1.0",
            "id": str(event_id or uuid4()),
            "source": "acme/auth",
            "type": type_,
            "subject": "-",
            "time": datetime.now(UTC).isoformat(),
            "data": json.dumps(data, default=str),
        }
        await redis.xadd("events:auth", entry)

    return publish


@pytest.fixture
def delete_user(publish_event):
    async def publish(user_id, *tenant_ids, event_id=None):
        await publish_event("auth.user.deleted.v1", event_id, user_id=user_id, tenant_ids=tenant_ids)

    return publish


@pytest.fixture
def named(app):
    """List whom the ledger names."""

    async def users():
        async with app.state.resources.database.begin() as db:
            rows = await db.scalars(select(UsageEntry.user_id).order_by(UsageEntry.id))
            return list(rows)

    return users


@pytest.fixture
def until_named(named, until):
    async def wait(*users):
        async def are_named():
            return await named() == list(users)

        await until(are_named)

    return wait


@pytest.fixture
def erase_end_user(redis, tenant):
    async def publish(user_id, at=None):
        entry = {
            "specversion": "1.0",
            "id": str(uuid4()),
            "source": "acme/chat-agent",
            "type": "chat.end_user.erased.v1",
            "subject": user_id,
            "time": (at or datetime.now(UTC)).isoformat(),
            "data": json.dumps({"tenant_id": str(tenant), "user_id": user_id}),
        }
        await redis.xadd("events:chat-agent", entry)

    return publish


async def test_the_sums_of_an_erased_end_user_stay_and_later_ones_are_named(
    ran, runs, erase_end_user, until_named
):
    alice, bob = "service:ak.1/alice", "service:ak.1/bob"
    await ran(("gpt", 100, 20), user_id=alice)
    await ran(("gpt", 7, 3), user_id=bob)
    before = await runs(2)
    await erase_end_user(alice)
    await until_named(ANONYMOUS_SUBJECT, bob)
    assert await runs(2) == before
    await ran(("gpt", 1, 1), user_id=alice)
    await until_named(ANONYMOUS_SUBJECT, bob, alice)


async def test_what_is_reported_late_of_an_erased_end_user_is_anonymous(
    ran, runs, erase_end_user, until_named, app
):
    alice, now = "service:ak.1/alice", datetime.now(UTC)
    # The older of two erasures may arrive after the newer one.
    for minutes in (2, 3):
        await erase_end_user(alice, now - timedelta(minutes=minutes))
    await ran(("gpt", 100, 20), user_id=alice, started_at=(now - timedelta(minutes=2, seconds=1)).isoformat())
    await ran(("gpt", 1, 1), user_id=alice, started_at=(now - timedelta(minutes=1)).isoformat())
    assert (await runs(2))["totals"]["input_tokens"] == 101
    await until_named(ANONYMOUS_SUBJECT, alice)
    async with app.state.resources.database.begin() as db:
        (erased,) = await db.scalars(select(ErasedEndUser))
    assert b"alice" not in erased.digest
    assert erased.erased_at == now - timedelta(minutes=2)


async def test_the_sums_stay_and_who_has_left_is_not_named(ran, runs, delete_user, until_named):
    ann, bob = f"user:{uuid4()}", f"user:{uuid4()}"
    await ran(("gpt", 100, 20), ("gpt-small", 1, 1), user_id=ann)
    await ran(("gpt", 7, 3), user_id=bob)
    before = await runs(2)
    await delete_user(ann)
    await until_named(ANONYMOUS_SUBJECT, ANONYMOUS_SUBJECT, bob)
    assert await runs(2) == before


async def test_a_late_event_is_counted_anonymously(ran, runs, delete_user, until_named):
    ann, event_id = f"user:{uuid4()}", uuid4()
    await ran(("gpt", 5, 5), user_id=ann)
    for _ in range(3):
        await delete_user(ann, event_id=event_id)
    await until_named(ANONYMOUS_SUBJECT)
    run_id = str(uuid4())
    for _ in range(2):
        await ran(("gpt", 100, 20), user_id=ann, run_id=run_id)
    assert (await runs(2))["totals"]["input_tokens"] == 105
    await until_named(ANONYMOUS_SUBJECT, ANONYMOUS_SUBJECT)


async def test_an_event_at_the_moment_of_erasure_is_anonymous_soon(ran, runs, delete_user, until_named):
    ann = f"user:{uuid4()}"
    await asyncio.gather(*(ran(("gpt", 1, 0), user_id=ann) for _ in range(20)), delete_user(ann))
    assert (await runs(20))["totals"]["input_tokens"] == 20
    await until_named(*[ANONYMOUS_SUBJECT] * 20)


async def test_more_than_goes_at_once_goes_too(ran, runs, delete_user, until_named, monkeypatch):
    monkeypatch.setattr(erasure_worker, "BATCH_SIZE", 2)
    ann = f"user:{uuid4()}"
    for _ in range(5):
        await ran(("gpt", 1, 0), user_id=ann)
    await runs(5)
    await delete_user(ann)
    await until_named(*[ANONYMOUS_SUBJECT] * 5)


async def test_a_deleted_tenant_is_forgotten_when_its_time_is_over(
    publish_event, ran, runs, tenant, until_named, named
):
    ann, bob = f"user:{uuid4()}", f"user:{uuid4()}"
    await ran(("gpt", 1, 0), user_id=ann)
    await ran(("gpt", 1, 0), user_id=bob, tenant_id=str(other := uuid4()))
    await runs(1)
    now = datetime.now(UTC)
    for tenant_id, version, after in (
        (other, 3, None),
        (other, 2, now - timedelta(days=1)),
        (tenant, 2, now - timedelta(seconds=1)),
    ):
        what, more = ("deleted", {"purge_after": after.isoformat()}) if after else ("reactivated", {})
        await publish_event(f"auth.tenant.{what}.v1", tenant_id=tenant_id, version=version, **more)
    await until_named(ANONYMOUS_SUBJECT, bob)
    await ran(("gpt", 1, 0), user_id=ann)
    await runs(2)
    assert await named() == [ANONYMOUS_SUBJECT, bob, ANONYMOUS_SUBJECT]


async def test_tenants_that_went_with_somebody_name_nobody(delete_user, ran, runs, tenant, until_named):
    bob = f"user:{uuid4()}"
    await ran(("gpt", 1, 0), user_id=bob)
    await runs(1)
    await delete_user(f"user:{uuid4()}", tenant)
    await until_named(ANONYMOUS_SUBJECT)


@pytest.mark.parametrize(
    "change",
    [
        "user_id = 'user:somebody-else'",
        f"user_id = '{ANONYMOUS_SUBJECT}', input_tokens = 0",
        f"user_id = '{ANONYMOUS_SUBJECT}', tenant_id = gen_random_uuid()",
        "estimated = not estimated",
    ],
)
async def test_nothing_but_who_used_it_can_be_taken_back(app, ran, runs, change):
    await ran(("gpt", 1, 1))
    before = await runs(1)
    with pytest.raises(Exception, match="usage_entries is append-only"):
        async with app.state.resources.database.begin() as db:
            await db.execute(text(f"update usage_entries set {change}"))  # noqa: S608  # ours
    assert await runs(1) == before


async def test_records_reservations_and_budgets_name_nobody_who_was_deleted(
    app, issuer, tenant, ran, runs, delete_user, until
):
    ann = f"user:{uuid4()}"
    await ran(("gpt", 5, 5), user_id=ann)
    await runs(1)
    token = issuer.service_token("chat-agent", audience="billing-webhook", scope="billing:reserve")
    run = f"/internal/v1/tenants/{tenant}/reservations/{uuid4()}/calls/start"
    async with client(app.state.internal, token) as chat_agent:
        request = {"user_id": ann, "agent": "triage", "model": "gpt", "messages": 1}
        assert (await chat_agent.put(run, json=request)).status_code == 200
    async with client(app, issuer.token(tenant_id=tenant, role="admin")) as admin:
        new = {"unit": "tokens", "limit": 5, "scope": "user", "scope_id": ann}
        assert (await admin.post(f"/api/v1/billing/tenants/{tenant}/budgets", json=new)).status_code == 201
    await delete_user(ann)

    async def is_erased():
        async with app.state.resources.database.begin() as db:
            named = [
                *await db.scalars(select(UsageRecord.user_id).filter_by(tenant_id=tenant)),
                *await db.scalars(select(Reservation.user_id).filter_by(tenant_id=tenant)),
            ]
            budgets = await db.scalar(select(func.count()).select_from(Budget).filter_by(tenant_id=tenant))
        return len(named) == 5 and {*named} == {ANONYMOUS_SUBJECT} and not budgets

    await until(is_erased)


async def test_commands_and_customers_name_nobody_of_a_tenant_that_is_over(
    app, tenant, publish_event, delete_user, until
):
    ann, bob = f"user:{uuid4()}", f"user:{uuid4()}"
    database = app.state.resources.database
    arguments = {"plan_code": "starter", "billing_email": "ann@example.com"}
    async with database.begin() as db:
        db.add(Customer(stripe_customer_id="cus_1", tenant_id=tenant, billing_email="ann@example.com"))
        for actor, owner in ((ann, tenant), (bob, uuid4())):
            command = {"kind": "start", "state": "succeeded", "arguments": arguments, "facts": {}}
            command |= {"session_id": str(uuid4()), "request_id": "a-request"}
            db.add(Command(tenant_id=owner, actor=actor, **command))
    gone = (datetime.now(UTC) - timedelta(seconds=1)).isoformat()
    await publish_event("auth.tenant.deleted.v1", tenant_id=tenant, version=2, purge_after=gone)
    await delete_user(bob)

    async def is_erased():
        async with database.begin() as db:
            actors = set(await db.execute(select(Command.actor, Command.session_id, Command.request_id)))
            [theirs] = await db.scalars(select(Command.arguments).filter_by(tenant_id=tenant))
            email = await db.scalar(select(Customer.billing_email))
        is_anonymous = actors == {(ANONYMOUS_SUBJECT, None, None)}
        return is_anonymous and theirs == {"plan_code": "starter"} and email is None

    await until(is_erased)


@pytest.mark.parametrize(
    "change",
    [
        "update usage_records set quantity = 0",
        "update usage_records set user_id = 'user:somebody-else'",
        f"update usage_records set user_id = '{ANONYMOUS_SUBJECT}', quantity = 0",  # noqa: S608  # ours
        "delete from usage_records",
    ],
)
async def test_a_record_cannot_be_changed_or_deleted(app, ran, runs, change):
    await ran(("gpt", 1, 1))
    await runs(1)
    with pytest.raises(Exception, match="usage_records is append-only"):
        async with app.state.resources.database.begin() as db:
            await db.execute(text(change))
