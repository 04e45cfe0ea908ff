"""What conversation needs of auth: its events of tenants and people, as its real handlers hear them."""

import pytest
from conversation.erasure import HANDLERS
from pact import match
from servicekit import erasure
from servicekit.database import Database
from testkit.pacts import TENANT, USER, consumer_pact

CHANGED = {"tenant_id": match.uuid(str(TENANT)), "version": match.int(2)}
PURGED = {
    **CHANGED,
    "purge_after": match.regex("2126-01-02T03:04:05Z", regex=r"^\d{4}-\d\d-\d\dT[\d:.]+(Z|\+00:00)$"),
}


@pytest.mark.parametrize(
    ("type_", "what", "data"),
    [
        ("auth.tenant.deleted.v1", "a tenant was deleted", PURGED),
        ("auth.tenant.suspended.v1", "a tenant was suspended", CHANGED),
        ("auth.tenant.reactivated.v1", "a tenant was reactivated", CHANGED),
    ],
)
async def test_hears_what_becomes_of_a_tenant(settings, type_, what, data):
    database = Database(settings.database_url, name="test")
    with consumer_pact("conversation", "auth") as pact:
        received = pact.event(what, type_, data, states=what)
        async with database.begin() as db:
            await HANDLERS[type_](db, received)
    await database.close()


async def test_hears_who_has_left(settings):
    database = Database(settings.database_url, name="test")
    data = {
        "user_id": match.regex(USER, regex=r"^user:[0-9a-f-]{36}$"),
        "tenant_ids": match.each_like(match.uuid(str(TENANT)), min=1),
    }
    with consumer_pact("conversation", "auth") as pact:
        given = "somebody has left for good"
        received = pact.event("somebody has left", "auth.user.deleted.v1", data, states=given)
        async with database.begin() as db:
            await HANDLERS[received.type](db, received)
        async with database.begin() as db:
            assert await db.scalar(erasure.is_deleted_user(USER)) == USER
    await database.close()
