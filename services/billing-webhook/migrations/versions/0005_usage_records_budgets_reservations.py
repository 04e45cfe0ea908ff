"""usage records and totals, budgets, reservations"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

TIME = sa.TIMESTAMP(timezone=True)
NOW = sa.func.now()
QUANTITY = sa.Numeric(30, 6)

ONLY_ANONYMIZE = """
create function only_anonymize_usage_record() returns trigger language plpgsql as $$
declare
    before usage_records := old;
begin
    before.user_id := new.user_id;
    if new.user_id <> 'user:00000000-0000-0000-0000-000000000000' or new is distinct from before then
        raise exception '% is append-only', tg_table_name using errcode = 'restrict_violation';
    end if;
    return new;
end $$
"""
ANONYMIZING = """
create trigger usage_records_only_anonymize before update on usage_records
for each row execute function only_anonymize_usage_record()
"""
APPEND_ONLY = """
create trigger usage_records_append_only before delete on usage_records
for each statement execute function refuse_changes()
"""


def upgrade() -> None:
    op.create_table(
        "usage_records",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("feature_key", sa.Text(), nullable=False),
        sa.Column("quantity", QUANTITY, nullable=False),
        sa.Column("idempotency_key", sa.Text(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("occurred_at", TIME, nullable=False),
        sa.Column("received_at", TIME, server_default=NOW, nullable=False),
        sa.Column("period_start", TIME, nullable=False),
        sa.Column("is_adjustment", sa.Boolean(), nullable=False),
        sa.Column("reverses_id", sa.Uuid()),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("subscription_id", sa.Text()),
        sa.Column("dimensions", JSONB(), nullable=False),
        sa.Column("run_id", sa.Uuid()),
        sa.Column("user_id", sa.Text()),
        sa.Column("api_key_id", sa.Text()),
        sa.Column("agent", sa.Text()),
        sa.Column("model", sa.Text()),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_usage_records")),
        sa.ForeignKeyConstraint(
            ["reverses_id"], ["usage_records.id"], name=op.f("fk_usage_records_reverses_id_usage_records")
        ),
        sa.UniqueConstraint(
            "tenant_id", "idempotency_key", name=op.f("uq_usage_records_tenant_id_idempotency_key")
        ),
        sa.UniqueConstraint("reverses_id", name=op.f("uq_usage_records_reverses_id")),
    )
    op.create_index("ix_usage_records_totals", "usage_records", ["tenant_id", "feature_key", "period_start"])
    op.create_index("ix_usage_records_time", "usage_records", ["tenant_id", "occurred_at"])
    op.create_index("ix_usage_records_user_id", "usage_records", ["user_id"])
    op.execute(ONLY_ANONYMIZE)
    op.execute(ANONYMIZING)
    op.execute(APPEND_ONLY)
    op.create_table(
        "usage_totals",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("feature_key", sa.Text(), nullable=False),
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("period_start", TIME, nullable=False),
        sa.Column("used", QUANTITY, nullable=False),
        sa.Column("reserved", QUANTITY, nullable=False),
        sa.Column("notified_percent", sa.BigInteger(), server_default="0", nullable=False),
        sa.PrimaryKeyConstraint(
            "tenant_id", "feature_key", "scope", "period_start", name=op.f("pk_usage_totals")
        ),
        # Counters change often, and only in columns without an index: room for them on their page.
        postgresql_with={"fillfactor": "50"},
    )
    op.create_table(
        "budgets",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("scope_id", sa.Text()),
        sa.Column("unit", sa.Text(), nullable=False),
        sa.Column("limit", QUANTITY, nullable=False),
        sa.Column("interval", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("created_at", TIME, server_default=NOW, nullable=False),
        sa.Column("updated_at", TIME, server_default=NOW, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_budgets")),
        sa.UniqueConstraint(
            "tenant_id",
            "scope",
            "scope_id",
            "unit",
            "interval",
            name=op.f("uq_budgets_tenant_id_scope_scope_id_unit_interval"),
            postgresql_nulls_not_distinct=True,
        ),
    )
    op.create_table(
        "reservations",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("run_id", sa.Uuid(), nullable=False),
        sa.Column("call", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("api_key_id", sa.Text()),
        sa.Column("agent", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("messages", sa.BigInteger(), nullable=False),
        sa.Column("input_tokens", sa.BigInteger(), nullable=False),
        sa.Column("output_tokens", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("settled_input_tokens", sa.BigInteger()),
        sa.Column("settled_output_tokens", sa.BigInteger()),
        sa.Column("holds", JSONB(), nullable=False),
        sa.Column("warnings", JSONB(), nullable=False),
        sa.Column("expires_at", TIME, nullable=False),
        sa.Column("created_at", TIME, server_default=NOW, nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "run_id", "call", name=op.f("pk_reservations")),
    )
    op.create_index(
        "ix_reservations_expires_at",
        "reservations",
        ["expires_at"],
        postgresql_where=sa.text("state = 'reserved'"),
    )
    op.create_index("ix_reservations_created_at", "reservations", ["created_at"])
    op.create_index("ix_reservations_user_id", "reservations", ["user_id"])
    op.create_table(
        "entitlement_versions",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", name=op.f("pk_entitlement_versions")),
    )


def downgrade() -> None:
    for table in ("entitlement_versions", "reservations", "budgets", "usage_totals", "usage_records"):
        op.drop_table(table)
    op.execute("drop function only_anonymize_usage_record()")
