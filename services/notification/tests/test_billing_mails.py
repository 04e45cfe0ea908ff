"""What a tenant's owners and its billing address read of billing, and when."""

import json
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from notification.billing_templates import BILLING_TEMPLATES
from notification.main import create_app
from testkit.app import client, running

LATER = "2126-12-31T10:00:00Z"
SHOWN_LATER = "31 December 2126, 10:00 UTC"
BILLING_PAGE = "https://app.acme.test/billing"
INVOICE_PAGE = "https://invoice.stripe.test/i/acct_1/test_2?s=ap"
INVOICE = {
    "invoice_id": "in_1",
    "number": "ACME-0001",
    "currency": "eur",
    "amount_due": 1900,
    "amount_paid": 0,
    "hosted_invoice_url": INVOICE_PAGE,
}
FAILED = {**INVOICE, "attempt_count": 1, "next_payment_attempt": LATER, "read_only_at": LATER}
SUBSCRIPTION = {
    "subscription_id": str(uuid4()),
    "plan_code": "pro",
    "status": "active",
    "seats": 1,
    "current_period_start": "2026-11-01T00:00:00Z",
    "current_period_end": LATER,
    "trial_end": None,
    "cancel_at_period_end": True,
    "version": 2,
}
USAGE = {
    "feature": "input_tokens",
    "scope": "tenant",
    "percent": 80,
    "used": "850",
    "limit": "1000",
    "kind": "hard",
    "period_start": "2026-11-01T00:00:00Z",
    "resets_at": LATER,
}


TRIAL = {"stripe_subscription_id": "sub_1", "trial_end": LATER}


def access(reason, access="free"):
    about = {"subscription_id": str(uuid4()), "plan_code": "pro", "changes_at": None}
    return "access.changed", {**about, "access": access, "reason": reason}


# The template, the event, and what the email says besides.
EMAILS = {
    "trial_ending": (
        ("trial.ending", {"stripe_subscription_id": "sub_1", "trial_end": LATER}),
        [SHOWN_LATER],
    ),
    "trial_ended": (access("trial_ended"), ["without a payment method", "free plan"]),
    "trial_paused": (access("trial_paused", "read_only"), ["paused"]),
    "payment_failed": (
        ("invoice.payment_failed", FAILED),
        ["of invoice ACME-0001 (EUR 19.00)", f"tried again on {SHOWN_LATER}", f"by {SHOWN_LATER}"],
    ),
    "payment_action_required": (("invoice.payment_action_required", INVOICE), ["ACME-0001", "confirm"]),
    "payment_overdue": (access("payment_overdue", "read_only"), ["overdue", "new runs are refused"]),
    "subscription_unpaid": (access("unpaid"), ["was not paid"]),
    "subscription_canceled": (("subscription.changed", SUBSCRIPTION), [f"ends on {SHOWN_LATER}"]),
    "subscription_ended": (access("ended"), ["has ended"]),
    "usage_warning": (("usage.threshold_reached", USAGE), ["80 % of the limit of input tokens", SHOWN_LATER]),
    "usage_limit_reached": (
        ("usage.threshold_reached", {**USAGE, "percent": 100, "used": "1001"}),
        ["limit of input tokens", "is reached", "New runs are refused"],
    ),
}


@pytest.fixture
def sent(publish, directory, post_office):
    """Wait for the email about an event to the one owner of a new tenant; it is the only one."""

    async def mail(type_, data, **tenant):
        tenant_id = directory.add_tenant(**tenant)
        await publish(tenant_id, type_, data)
        return await post_office.arrival(directory.addresses(tenant_id)[0])

    return mail


@pytest.fixture
def handled(publish, directory, post_office):
    """Wait until all that was published before is dealt with: what comes after it has arrived."""

    async def wait():
        tenant_id = directory.add_tenant()
        await publish(tenant_id, *access("ended"))
        await post_office.arrival(directory.addresses(tenant_id)[0])

    return wait


def test_there_is_a_case_of_every_email():
    assert set(EMAILS) == set(BILLING_TEMPLATES)


@pytest.mark.parametrize("template", EMAILS)
async def test_says_what_happened_and_what_to_do(app, sent, template):
    (type_, data), texts = EMAILS[template]
    mail = await sent(type_, data)
    assert mail["subject"] == BILLING_TEMPLATES[template].subject
    link = INVOICE_PAGE if template == "payment_action_required" else BILLING_PAGE
    assert [word for word in mail["text"].split() if "://" in word] == [link]
    assert mail["html"].count("href=") == 1
    for part in (mail["html"], mail["text"]):
        for text in ("Hello Ada", "Analytical Engines", BILLING_TEMPLATES[template].footer, *texts):
            assert text in part, (text, part)
        for text in ("None", "{", "token:", "expire on"):
            assert text not in part


async def test_every_owner_and_the_billing_address_get_one_each(
    app, publish, directory, post_office, handled
):
    tenant_id = directory.add_tenant(owners=2, billing_email="bills@example.com")
    first, _ = directory.addresses(tenant_id)
    same = directory.add_tenant(billing_email="Ann@Example.com")
    directory.tenants[same]["owners"][0]["email"] = "ann@example.com"
    for tenant in (tenant_id, same):
        await publish(tenant, *access("unpaid"))
    assert "Hello Ada," in (await post_office.arrival(first))["text"]
    assert "Hello," in (await post_office.arrival("bills@example.com"))["text"]
    await post_office.arrival("ann@example.com")
    await handled()
    for address in (*directory.addresses(tenant_id), "bills@example.com", "ann@example.com"):
        await post_office.arrival(address)
    assert len(await post_office.attempts()) == 5


async def test_an_event_that_comes_twice_is_one_email(settings, publish, directory, post_office, handled):
    tenant_id, event_id = directory.add_tenant(), uuid4()
    async with running(create_app(settings)), running(create_app(settings)):
        for _ in range(2):
            await publish(tenant_id, *access("unpaid"), event_id=event_id)
        await handled()
        await post_office.arrival(directory.addresses(tenant_id)[0])
    assert len(await post_office.attempts()) == 2


async def test_a_cancellation_is_mailed_once_whatever_changes_until_the_end(
    app, publish, directory, post_office, handled
):
    tenant_id, active = directory.add_tenant(), directory.add_tenant()
    for changes in ({}, {"seats": 2}, {"version": 4}):
        await publish(tenant_id, "subscription.changed", {**SUBSCRIPTION, **changes})
    await publish(active, "subscription.changed", {**SUBSCRIPTION, "cancel_at_period_end": False})
    await handled()
    await post_office.arrival(directory.addresses(tenant_id)[0])
    assert await post_office.mails(directory.addresses(active)[0]) == []
    assert len(await post_office.attempts()) == 2


@pytest.mark.parametrize("data", [access("paid", "full"), access("payment_due", "full"), access("paused")])
async def test_no_email_says_what_the_tenant_did_itself_or_knows_by_another(
    app, publish, directory, post_office, handled, data
):
    tenant_id = directory.add_tenant()
    await publish(tenant_id, *data)
    await handled()
    assert await post_office.mails(directory.addresses(tenant_id)[0]) == []


async def test_of_thresholds_only_the_highest_from_80_up_that_is_the_tenants_is_mailed(
    app, publish, directory, post_office, handled
):
    jump, quiet = directory.add_tenant(), directory.add_tenant()
    for percent in (50, 80, 90):
        await publish(jump, "usage.threshold_reached", {**USAGE, "percent": percent, "used": "930"})
    others = ({"percent": 50, "used": "500"}, {"scope": "user"}, {"feature": "seats"})
    for other in others:
        await publish(quiet, "usage.threshold_reached", {**USAGE, **other})
    await handled()
    mail = await post_office.arrival(directory.addresses(jump)[0])
    assert "90 % of the limit" in mail["text"]
    assert await post_office.mails(directory.addresses(quiet)[0]) == []


async def test_a_deleted_tenant_gets_no_email(app, publish, directory, post_office, handled, rows):
    await publish(str(uuid4()), *access("unpaid"))
    await handled()
    assert len(await post_office.attempts()) == 1
    assert await rows.fetch("select * from notices") == []


async def test_emails_wait_while_addresses_cannot_be_looked_up(
    app, publish, directory, post_office, until, rows
):
    directory.down = True
    tenant_id = directory.add_tenant()
    await publish(tenant_id, *access("unpaid"))

    async def postponed():
        return await rows.fetch("select * from notices where attempts > 0")

    [notice] = await until(postponed)
    assert "@" not in str(notice)
    assert await post_office.attempts() == []
    directory.down = False
    await post_office.arrival(directory.addresses(tenant_id)[0])
    assert await rows.fetch("select * from notices") == []


async def test_news_that_is_too_old_is_not_sent(app, publish, directory, post_office, handled):
    tenant_id = directory.add_tenant()
    await publish(tenant_id, *access("unpaid"), time=datetime.now(UTC) - timedelta(days=3))
    await handled()
    assert await post_office.mails(directory.addresses(tenant_id)[0]) == []


async def test_names_that_could_be_a_link_are_left_out(app, sent):
    mail = await sent("access.changed", access("unpaid")[1], tenant_name="casino.test")
    assert "casino" not in mail["text"] + mail["html"]


@pytest.mark.parametrize("url", [None, "javascript:alert(1)", "https://evil.test/ a"])
async def test_without_a_page_of_the_invoice_the_link_leads_to_ours(app, sent, url):
    mail = await sent("invoice.payment_action_required", {**INVOICE, "hosted_invoice_url": url})
    assert BILLING_PAGE in mail["text"]


async def test_amounts_are_in_the_units_of_their_currency(app, sent):
    mail = await sent("invoice.payment_failed", {**FAILED, "currency": "jpy"})
    assert "(JPY 1900)" in mail["text"]


async def test_an_owner_sees_the_email_in_the_list_of_the_tenant(app, issuer, sent, directory):
    await sent(*access("unpaid"))
    [tenant_id] = directory.tenants
    token = issuer.token(tenant_id=tenant_id, subject=directory.tenants[tenant_id]["owners"][0]["user_id"])
    async with client(app, token) as http:
        [item] = (await http.get("/api/v1/notifications")).json()["items"]
    assert item["type"] == "subscription_unpaid"


async def test_the_billing_address_is_erased_with_its_tenant(
    app, publish, directory, post_office, redis, rows, until
):
    tenant_id = directory.add_tenant(billing_email="bills@example.com")
    await publish(tenant_id, *access("unpaid"))
    await post_office.arrival("bills@example.com")
    data = {"tenant_id": tenant_id, "version": 2, "purge_after": datetime.now(UTC).isoformat()}
    entry = {
        "specversion": "1.0",
        "id": str(uuid4()),
        "source": "acme/auth",
        "type": "auth.tenant.deleted.v1",
        "subject": f"tenant:{tenant_id}",
        "time": datetime.now(UTC).isoformat(),
        "data": json.dumps(data),
    }
    await redis.xadd("events:auth", entry)
    await until(lambda: rows.fetch("select * from tenants"))
    async with running(create_app(app.state.resources.settings)):

        async def erased():
            return len(await rows.fetch("select * from deliveries")) == 1

        await until(erased)
    assert await rows.fetchval("select address from deliveries") == directory.addresses(tenant_id)[0]
