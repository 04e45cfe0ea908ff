"""changes of access"""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "subscriptions",
        sa.Column("access_reason", sa.Text(), server_default=sa.text("'paid'"), nullable=False),
    )
    op.add_column("subscriptions", sa.Column("access_changes_at", sa.TIMESTAMP(timezone=True)))
    # What has ended or changed before is no news: only what time changes from now on is published.
    op.execute(
        "update subscriptions set access_reason = case"
        " when ended_at is not null or status = 'canceled' then 'ended'"
        " when status = 'unpaid' then 'unpaid'"
        " when status = 'paused' then 'trial_paused'"
        " when status = 'past_due' and past_due_since + interval '7 days' <= now() then 'payment_overdue'"
        " when status = 'past_due' then 'payment_due'"
        " when status not in ('active', 'trialing') then 'incomplete'"
        " when pause_behavior is not null then 'paused'"
        " else 'paid' end"
    )
    op.execute(
        "update subscriptions set access_changes_at = least("
        " case when cancel_at > now() then cancel_at end,"
        " case when pause_resumes_at > now() then pause_resumes_at end,"
        " case when status = 'past_due' and past_due_since + interval '7 days' > now()"
        " then past_due_since + interval '7 days' end)"
        " where ended_at is null"
    )
    op.create_index(
        "ix_subscriptions_access_changes_at",
        "subscriptions",
        ["access_changes_at"],
        postgresql_where=sa.text("access_changes_at is not null"),
    )


def downgrade() -> None:
    op.drop_index("ix_subscriptions_access_changes_at", "subscriptions")
    op.drop_column("subscriptions", "access_changes_at")
    op.drop_column("subscriptions", "access_reason")
