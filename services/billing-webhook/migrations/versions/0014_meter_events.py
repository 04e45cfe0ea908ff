"""meter events of counters in place of records"""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

TIME = sa.TIMESTAMP(timezone=True)
QUANTITY = sa.Numeric(30, 6)

COMMON = """
insert into meter_events
    (identifier, tenant_id, feature_key, period_start, event_name, value, timestamp, state, {columns})
"""
# What Stripe has counted of a counter becomes one event; what it may have received stays one of its own.
SENT = (
    COMMON.format(columns="sent_at")
    + """
select 'records:' || r.tenant_id || ':' || r.feature_key || ':' || extract(epoch from r.period_start)::bigint,
    r.tenant_id, r.feature_key, r.period_start, min(p.event_name), sum(p.value), max(p.timestamp), 'sent',
    max(p.sent_at)
from meter_projections p join usage_records r on r.id = p.record_id
where p.state = 'sent' group by r.tenant_id, r.feature_key, r.period_start
"""
)
OTHERS = (
    COMMON.format(columns="attempts, next_attempt_at, first_attempt_at, error")
    + """
select p.record_id::text, r.tenant_id, r.feature_key, r.period_start, p.event_name, p.value, p.timestamp,
    p.state, p.attempts, p.next_attempt_at, r.received_at, p.error
from meter_projections p join usage_records r on r.id = p.record_id
where p.state = 'rejected' or (p.state = 'pending' and p.attempts > 0 and p.cancels_id is null)
"""
)
COUNTERS = """
update usage_totals t set sent = e.sent, unsent_since = case when t.used <> e.sent then now() end
from (
    select r.tenant_id, r.feature_key, r.period_start, coalesce(sum(m.value), 0) as sent
    from (
        select distinct r.tenant_id, r.feature_key, r.period_start
        from meter_projections p join usage_records r on r.id = p.record_id
    ) r left join meter_events m using (tenant_id, feature_key, period_start)
    group by r.tenant_id, r.feature_key, r.period_start
) e
where t.scope = 'tenant' and t.tenant_id = e.tenant_id and t.feature_key = e.feature_key
    and t.period_start = e.period_start
"""


def upgrade() -> None:
    op.create_table(
        "meter_events",
        sa.Column("identifier", sa.Text(), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("feature_key", sa.Text(), nullable=False),
        sa.Column("period_start", TIME, nullable=False),
        sa.Column("event_name", sa.Text(), nullable=False),
        sa.Column("value", QUANTITY, nullable=False),
        sa.Column("timestamp", TIME, nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("attempts", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("next_attempt_at", TIME, server_default=sa.func.now(), nullable=False),
        sa.Column("first_attempt_at", TIME),
        sa.Column("sent_at", TIME),
        sa.Column("cancelable_until", TIME),
        sa.Column("error", sa.Text()),
        sa.PrimaryKeyConstraint("identifier", name=op.f("pk_meter_events")),
    )
    op.create_index(
        "ix_meter_events_due",
        "meter_events",
        ["next_attempt_at"],
        postgresql_where=sa.text("state in ('pending', 'canceling')"),
    )
    op.create_index("ix_meter_events_counter", "meter_events", ["tenant_id", "feature_key", "period_start"])
    op.add_column("usage_totals", sa.Column("sent", QUANTITY, server_default="0", nullable=False))
    count = sa.Column("meter_event_count", sa.BigInteger(), server_default="0", nullable=False)
    op.add_column("usage_totals", count)
    op.add_column("usage_totals", sa.Column("unsent_since", TIME))
    op.add_column("usage_totals", sa.Column("period_end", TIME))
    op.create_index(
        "ix_usage_totals_unsent_since",
        "usage_totals",
        ["unsent_since"],
        postgresql_where=sa.text("unsent_since is not null"),
    )
    for statement in (SENT, OTHERS, COUNTERS):
        op.execute(statement)
    op.drop_table("meter_projections")


def downgrade() -> None:
    # Empty: which records a counter's events were made of is not known, and what was sent is not sent again.
    op.create_table(
        "meter_projections",
        sa.Column("record_id", sa.Uuid(), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("event_name", sa.Text(), nullable=False),
        sa.Column("value", QUANTITY, nullable=False),
        sa.Column("timestamp", TIME, nullable=False),
        sa.Column("cancels_id", sa.Uuid()),
        sa.Column("state", sa.Text(), server_default="pending", nullable=False),
        sa.Column("attempts", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("next_attempt_at", TIME, server_default=sa.func.now(), nullable=False),
        sa.Column("error", sa.Text()),
        sa.Column("sent_at", TIME),
        sa.PrimaryKeyConstraint("record_id", name=op.f("pk_meter_projections")),
        sa.ForeignKeyConstraint(
            ["record_id"], ["usage_records.id"], name=op.f("fk_meter_projections_record_id_usage_records")
        ),
    )
    op.create_index(
        "ix_meter_projections_due",
        "meter_projections",
        ["next_attempt_at"],
        postgresql_where=sa.text("state = 'pending'"),
    )
    op.drop_index("ix_usage_totals_unsent_since", "usage_totals")
    for column in ("sent", "meter_event_count", "unsent_since", "period_end"):
        op.drop_column("usage_totals", column)
    op.drop_table("meter_events")
