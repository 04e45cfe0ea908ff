"""What notification needs of auth: its events, heard by the real handlers, and so written down."""

import pytest
from notification.handlers import HANDLERS
from pact import match
from servicekit.database import Database
from testkit.pacts import TENANT, USER, consumer_pact

TO_CONFIRM = {
    "user_id": match.regex(USER, regex=r"^user:[0-9a-f-]{36}$"),
    "tenant_id": match.uuid(str(TENANT)),
    "email": match.regex("ada@example.com", regex=r"^[^\s@]+@[^\s@]+$"),
    "display_name": match.like("Ada"),
    "tenant_name": match.like("Analytical Engines"),
    "verification": {
        "token": match.regex("s1.c2VhbGVk", regex=r"^s1\.[A-Za-z0-9_-]+$"),
        "expires_at": match.regex("2126-01-02T03:04:05Z", regex=r"^\d{4}-\d\d-\d\dT[\d:.]+(Z|\+00:00)$"),
    },
}


@pytest.fixture
async def database(settings):
    database = Database(settings.database_url, name="test")
    yield database
    await database.close()


@pytest.mark.parametrize(
    ("type_", "description", "given"),
    [
        ("auth.user.registered.v1", "somebody signed up", "somebody has signed up"),
        (
            "auth.email_verification.requested.v1",
            "somebody asked for the confirming mail again",
            "somebody has asked for the confirming mail again",
        ),
    ],
)
async def test_asks_for_an_address_to_be_confirmed(database, rows, type_, description, given):
    with consumer_pact("notification", "auth") as pact:
        received = pact.event(description, type_, TO_CONFIRM, given=given)
        async with database.begin() as session:
            await HANDLERS[type_](session, received)
    [row] = await rows.fetch("select * from deliveries")
    assert (row["address"], row["user_id"], row["tenant_id"]) == ("ada@example.com", USER, TENANT)
    assert (row["template"], row["sealed_token"]) == ("email_verification", "s1.c2VhbGVk")
