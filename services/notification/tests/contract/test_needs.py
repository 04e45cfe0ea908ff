"""What notification needs of auth: its events, heard by the real handlers, and so written down."""

import pytest
from notification.handlers import HANDLERS
from pact import match
from servicekit.database import Database
from testkit.pacts import TENANT, USER, consumer_pact

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
            {"user_id": match.regex(USER, regex=r"^user:[0-9a-f-]{36}$")},
            states="somebody has left for good",
        )
        async with database.begin() as db:
            await HANDLERS["auth.email.requested.v1"](db, due)
        async with database.begin() as db:
            await HANDLERS["auth.user.deleted.v1"](db, left)
    assert await rows.fetch("select * from deliveries") == []
