"""Every table of a person is in a list that they can read, or has a reason."""

from notification.models import Base
from testkit.app import client
from testkit.owned_rows import personal_tables

# By `GET /api/v1/notifications`; the address is auth's to export, and the token is secret.
EXPORTED = {"deliveries"}
NOT_EXPORTED = {"leavers": "ids of deleted accounts alone"}


async def test_every_table_of_a_person_is_listed_or_has_a_reason(app, issuer, sign_up, mailed):
    assert {table.name for table in personal_tables(Base.metadata)} == EXPORTED | NOT_EXPORTED.keys()
    person = await sign_up()
    await mailed(person)
    token = issuer.token(tenant_id=person.tenant_id, subject=person.user_id, role="viewer")
    async with client(app, token) as http:
        answer = await http.get("/api/v1/notifications")
    [delivery] = answer.json()["items"]
    assert delivery["type"] == "email_verification"
