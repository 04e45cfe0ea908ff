"""the customer of an event, and records of which a purge leaves what was billed"""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

# The customers of events that are stored already, as far as a dispatch names them.
CUSTOMERS = r"""
update stripe_events set stripe_customer_id = dispatches.ordering_key
from stripe_dispatches dispatches
where dispatches.event_id = stripe_events.id and dispatches.ordering_key like 'cus\_%'
"""
ONLY_ANONYMIZE = """
create or replace function only_anonymize_usage_record() returns trigger language plpgsql as $$
declare
    before usage_records := old;
begin
    before.user_id := new.user_id;{purge}
    if new.user_id <> 'user:00000000-0000-0000-0000-000000000000' or new is distinct from before then
        raise exception '% is append-only', tg_table_name using errcode = 'restrict_violation';
    end if;
    return new;
end $$
"""
PURGE = """
    if new.idempotency_key = 'erased:' || old.id then
        before.idempotency_key := new.idempotency_key;
        before.dimensions := '{}';
        before.api_key_id := null;
    end if;"""


def upgrade() -> None:
    op.add_column("stripe_events", sa.Column("stripe_customer_id", sa.Text()))
    op.execute(CUSTOMERS)
    op.create_index("ix_stripe_events_stripe_customer_id", "stripe_events", ["stripe_customer_id"])
    op.create_index(
        "ix_stripe_dispatches_tenant_id",
        "stripe_dispatches",
        ["tenant_id"],
        postgresql_where=sa.text("tenant_id is not null"),
    )
    op.execute(ONLY_ANONYMIZE.format(purge=PURGE))


def downgrade() -> None:
    op.execute(ONLY_ANONYMIZE.format(purge=""))
    op.drop_index("ix_stripe_dispatches_tenant_id", "stripe_dispatches")
    op.drop_index("ix_stripe_events_stripe_customer_id", "stripe_events")
    op.drop_column("stripe_events", "stripe_customer_id")
