"""a transaction that works for one tenant writes rows of no other"""

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

TABLES = ("billing_events", "customers", "invoices", "subscriptions")

# Not row-level security, which says nothing to a superuser or a table's owner.
REFUSE = """
create function refuse_other_tenants() returns trigger language plpgsql as $$
begin
    raise exception 'a row of % is of another tenant', tg_table_name using errcode = 'insufficient_privilege';
end $$
"""
TRIGGER = """
create trigger {table}_one_tenant before insert or update on {table} for each row
when (coalesce(current_setting('acme.tenant_id', true), '') not in ('', new.tenant_id::text))
execute function refuse_other_tenants()
"""


def upgrade() -> None:
    op.execute(REFUSE)
    for table in TABLES:
        op.execute(TRIGGER.format(table=table))


def downgrade() -> None:
    for table in TABLES:
        op.execute(f"drop trigger {table}_one_tenant on {table}")
    op.execute("drop function refuse_other_tenants()")
