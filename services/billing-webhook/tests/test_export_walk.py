"""No table of a person holds what is not exported elsewhere, or the tenant's to keep."""

from billing_webhook.models import Base
from testkit.owned_rows import personal_tables

NOT_EXPORTED = {
    "usage_entries": "the tenant's accounts: tokens of a run, which is in chat-agent's export with its usage",
    "usage_records": "the tenant's accounts: quantities of a run, or of what the tenant has reported itself",
    "reservations": "amounts that calls of a run may use, deleted after it",
    "entitlement_grants": "the operators': who of them has granted what",
    "stripe_dispatches": "the operators': who of them has replayed an event",
    "subscription_commands": "the tenant's: who has changed its subscription is in its audit log",
    "outbox": "events on their way to other services",
    "leavers": "ids of deleted accounts alone",
}


def test_every_table_of_a_person_has_a_reason():
    assert {table.name for table in personal_tables(Base.metadata)} == NOT_EXPORTED.keys()
