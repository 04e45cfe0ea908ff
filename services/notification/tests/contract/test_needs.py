"""What notification needs of auth and billing-webhook: events, and where addresses are, written down."""

import pytest
from notification.handlers import HANDLERS
from notification.recipients import RecipientClient
from pact import match
from servicekit.database import Database
from servicekit.http.client import HttpPool
from testkit.pacts import TENANT, USER, consumer_pact, machine, service_tokens

DUE = {
    "recipient": match.regex(USER, regex=r"^user:[0-9a-f-]{36}$"),
    "email": match.regex("ada@example.com", regex=r"^[^\s@]+@[^\s@]+$"),
    "display_name": match.like("Ada"),
    "facts": match.like({}),
    "expires_at": match.regex("2126-01-02T03:04:05Z", regex=r"^\d{4}-\d\d-\d\dT[\d:.]+(Z|\+00:00)$"),
}
WITH_TOKEN = {
    **DUE,
    "kind": "password_reset",
    "tenant_id": None,
    "token": match.regex("s1.c2VhbGVk", regex=r"^s1\.[A-Za-z0-9_-]+$"),
}
NOTICE = {**DUE, "kind": "password_changed", "tenant_id": None, "token": None}


@pytest.fixture
async def database(settings):
    database = Database(settings.database_url, name="test")
    yield database
    await database.close()


async def test_takes_note_of_a_registration(database, rows):
    data = {
        "user_id": match.regex(USER, regex=r"^user:[0-9a-f-]{36}$"),
        "tenant_id": match.uuid(str(TENANT)),
    }
    with consumer_pact("notification", "auth") as pact:
        received = pact.event(
            "somebody signed up", "auth.user.registered.v1", data, states="somebody has signed up"
        )
        async with database.begin() as db:
            await HANDLERS["auth.user.registered.v1"](db, received)
    assert await rows.fetch("select * from deliveries") == []


async def test_sends_the_verification_email(database, rows):
    data = {**WITH_TOKEN, "kind": "email_verification", "tenant_id": match.uuid(str(TENANT))}
    data["facts"] = {"tenant_name": match.like("Analytical Engines")}
    with consumer_pact("notification", "auth") as pact:
        received = pact.event(
            "a verification email is requested",
            "auth.email.requested.v1",
            data,
            states="a verification email was requested",
        )
        async with database.begin() as db:
            await HANDLERS["auth.email.requested.v1"](db, received)
    [row] = await rows.fetch("select * from deliveries")
    assert (row["address"], row["user_id"], row["tenant_id"]) == ("ada@example.com", USER, TENANT)
    assert (row["template"], row["sealed_token"]) == ("email_verification", "s1.c2VhbGVk")


@pytest.mark.parametrize(
    ("description", "given", "data", "token"),
    [
        ("a mail with a token is due", "somebody has forgotten their password", WITH_TOKEN, "s1.c2VhbGVk"),
        ("a notice is due", "somebody has set a new password", NOTICE, None),
    ],
)
async def test_sends_the_mails_that_are_due(database, rows, description, given, data, token):
    with consumer_pact("notification", "auth") as pact:
        received = pact.event(description, "auth.email.requested.v1", data, states=given)
        async with database.begin() as db:
            await HANDLERS["auth.email.requested.v1"](db, received)
    [row] = await rows.fetch("select * from deliveries")
    assert (row["address"], row["user_id"], row["tenant_id"]) == ("ada@example.com", USER, None)
    assert (row["template"], row["sealed_token"]) == (data["kind"], token)


async def test_forgets_who_has_left(database, rows):
    with consumer_pact("notification", "auth") as pact:
        due = pact.event(
            "a notice is due", "auth.email.requested.v1", NOTICE, states="somebody has set a new password"
        )
        left = pact.event(
            "somebody has left",
            "auth.user.deleted.v1",
            {
                "user_id": match.regex(USER, regex=r"^user:[0-9a-f-]{36}$"),
                "tenant_ids": match.each_like(match.uuid(str(TENANT)), min=1),
            },
            states="somebody has left for good",
        )
        async with database.begin() as db:
            await HANDLERS["auth.email.requested.v1"](db, due)
        async with database.begin() as db:
            await HANDLERS["auth.user.deleted.v1"](db, left)
    assert await rows.fetch("select * from deliveries") == []


VERSION = {"tenant_id": match.uuid(str(TENANT)), "version": match.int(2)}
MOMENT = match.regex("2126-01-02T03:04:05Z", regex=r"^\d{4}-\d\d-\d\dT[\d:.]+(Z|\+00:00)$")


@pytest.mark.parametrize(
    ("type_", "what", "data"),
    [
        ("auth.tenant.deleted.v1", "a tenant was deleted", {**VERSION, "purge_after": MOMENT}),
        ("auth.tenant.suspended.v1", "a tenant was suspended", VERSION),
        ("auth.tenant.reactivated.v1", "a tenant was reactivated", VERSION),
    ],
)
async def test_notes_what_becomes_of_a_tenant(database, rows, type_, what, data):
    with consumer_pact("notification", "auth") as pact:
        received = pact.event(what, type_, data, states=what)
        async with database.begin() as db:
            await HANDLERS[type_](db, received)
    assert await rows.fetchval("select id from tenants") == TENANT


INVOICE = {
    "tenant_id": match.uuid(str(TENANT)),
    "number": match.like("ACME-0001"),
    "currency": match.regex("eur", regex=r"^[a-z]{3}$"),
    "amount_due": match.int(1900),
}
EVENTS = {
    "billing.trial.ending.v1": (
        "a trial is ending",
        "trial_ending",
        {"tenant_id": match.uuid(str(TENANT)), "trial_end": MOMENT},
    ),
    "billing.invoice.payment_failed.v1": (
        "a payment has failed",
        "payment_failed",
        {**INVOICE, "next_payment_attempt": MOMENT, "read_only_at": MOMENT},
    ),
    "billing.invoice.payment_action_required.v1": (
        "a payment needs an action",
        "payment_action_required",
        {**INVOICE, "hosted_invoice_url": match.regex("https://stripe.test/in_1", regex=r"^https?://\S+$")},
    ),
    "billing.access.changed.v1": (
        "a payment is overdue",
        "payment_overdue",
        {"tenant_id": match.uuid(str(TENANT)), "reason": "payment_overdue"},
    ),
    "billing.subscription.changed.v1": (
        "a subscription was canceled",
        "subscription_canceled",
        {
            "tenant_id": match.uuid(str(TENANT)),
            "subscription_id": match.uuid("5b000000-0000-4000-8000-000000000001"),
            "status": match.like("active"),
            "current_period_end": MOMENT,
            "cancel_at_period_end": True,
        },
    ),
    "billing.usage.threshold_reached.v1": (
        "usage has reached a limit",
        "usage_limit_reached",
        {
            "tenant_id": match.uuid(str(TENANT)),
            "feature": "messages",
            "scope": "tenant",
            "percent": 100,
            "used": match.regex("100", regex=r"^\d+(\.\d+)?$"),
            "limit": match.regex("100", regex=r"^\d+(\.\d+)?$"),
            "kind": match.regex("hard", regex=r"^(hard|soft)$"),
            "resets_at": MOMENT,
        },
    ),
}


@pytest.mark.parametrize("type_", EVENTS)
async def test_notes_what_billing_has_to_tell(database, rows, type_):
    description, template, data = EVENTS[type_]
    with consumer_pact("notification", "billing-webhook") as pact:
        received = pact.event(description, type_, data, states=description)
        async with database.begin() as db:
            await HANDLERS[type_](db, received)
    [row] = await rows.fetch("select * from notices")
    assert (row["template"], row["tenant_id"]) == (template, TENANT)


def client_of(url):
    return RecipientClient(HttpPool(), service_tokens("notification"), url, url)


async def test_asks_auth_for_the_owners():
    with consumer_pact("notification", "auth") as pact:
        (
            pact.upon_receiving("a request for the owners of a tenant")
            .given("the owner of a tenant")
            .with_request("GET", f"/internal/v1/tenants/{TENANT}/owners")
            .with_header("Authorization", machine("notification", "auth", "owners:read"))
            .will_respond_with(200)
            .with_body(
                {
                    "tenant_name": match.like("Analytical Engines"),
                    "owners": match.each_like(
                        {
                            "user_id": DUE["recipient"],
                            "email": DUE["email"],
                            "display_name": None,
                        },
                        min=1,
                    ),
                },
                "application/json",
            )
        )
        with pact.serve() as server:
            client = client_of(str(server.url))
            tenant = await client.find_owners(TENANT)
            await client.http.aclose()
    assert tenant is not None
    assert [owner.email for owner in tenant.owners] == ["ada@example.com"]


async def test_asks_auth_for_the_owners_of_a_deleted_tenant():
    with consumer_pact("notification", "auth") as pact:
        (
            pact.upon_receiving("a request for the owners of a deleted tenant")
            .given("a tenant was deleted")
            .with_request("GET", f"/internal/v1/tenants/{TENANT}/owners")
            .with_header("Authorization", machine("notification", "auth", "owners:read"))
            .will_respond_with(404)
        )
        with pact.serve() as server:
            client = client_of(str(server.url))
            assert await client.find_owners(TENANT) is None
            await client.http.aclose()


async def test_asks_billing_for_the_address():
    with consumer_pact("notification", "billing-webhook") as pact:
        (
            pact.upon_receiving("a request for the billing address of a tenant")
            .given("a customer with a billing address")
            .with_request("GET", f"/internal/v1/tenants/{TENANT}/billing-contact")
            .with_header("Authorization", machine("notification", "billing-webhook", "billing:contact"))
            .will_respond_with(200)
            .with_body({"billing_email": match.like("bills@example.com")}, "application/json")
        )
        with pact.serve() as server:
            client = client_of(str(server.url))
            assert await client.find_billing_email(TENANT) == "bills@example.com"
            await client.http.aclose()
