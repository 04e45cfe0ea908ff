"""runs that wait, queue and change hands; approvals; calls that are made once"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

MOMENT = postgresql.TIMESTAMP(timezone=True)
OVER = "('cancelled', 'completed', 'failed')"
TRANSITIONS = (
    ("new", "queued"),
    ("new", "running"),
    ("queued", "running"),
    ("queued", "cancelled"),
    ("running", "running"),
    ("running", "waiting"),
    ("running", "completed"),
    ("running", "failed"),
    ("running", "cancelled"),
    ("waiting", "running"),
)
STEPS = ", ".join(map(str, TRANSITIONS))
ENFORCE = f"""
create function enforce_run_transition() returns trigger language plpgsql as $$
declare
    was text := case tg_op when 'INSERT' then 'new' else old.status end;
begin
    if (was, new.status) not in ({STEPS}) then
        raise check_violation using message = format('a run cannot go from %s to %s', was, new.status);
    end if;
    return new;
end $$
"""
TRIGGER = """
create trigger enforce_run_transition before insert or update of status on runs
for each row execute function enforce_run_transition()
"""


def upgrade() -> None:
    change_runs()
    op.execute(ENFORCE)
    op.execute(TRIGGER)
    create_approvals()
    create_tool_calls()


def change_runs() -> None:
    for column in (
        sa.Column("prelude", postgresql.JSONB(), server_default="[]", nullable=False),
        sa.Column("position", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("attempt", sa.Integer(), server_default="1", nullable=False),
        sa.Column("losses", sa.Integer(), server_default="0", nullable=False),
        sa.Column("stop", sa.Text(), nullable=True),
        sa.Column("state", sa.Text(), nullable=True),
        sa.Column("waiting_until", MOMENT, nullable=True),
        sa.Column("cost", sa.BigInteger(), nullable=True),
        sa.Column("started_at", MOMENT, nullable=True),
    ):
        op.add_column("runs", column)
    op.execute("update runs set started_at = created_at")
    op.alter_column("runs", "owner", nullable=True)
    op.alter_column("runs", "lease_expires_at", nullable=True)
    op.drop_constraint(op.f("ck_runs_status"), "runs")
    op.drop_constraint(op.f("ck_runs_ended"), "runs")
    op.create_check_constraint(
        op.f("ck_runs_status"),
        "runs",
        "status in ('queued', 'running', 'waiting', 'completed', 'failed', 'cancelled')",
    )
    op.create_check_constraint(op.f("ck_runs_ended"), "runs", f"(status in {OVER}) = (ended_at is not null)")
    op.create_check_constraint(op.f("ck_runs_stop"), "runs", "stop in ('cancel', 'interrupt', 'rollback')")
    op.drop_index("uq_runs_conversation_running", "runs")
    op.create_index(
        "uq_runs_conversation_active",
        "runs",
        ["conversation_id"],
        unique=True,
        postgresql_where=sa.text("status in ('running', 'waiting')"),
    )
    op.create_index(
        "ix_runs_queue",
        "runs",
        ["conversation_id", "position"],
        postgresql_where=sa.text("status = 'queued'"),
    )
    op.create_index(
        "ix_runs_waiting", "runs", ["waiting_until"], postgresql_where=sa.text("status = 'waiting'")
    )
    op.create_index("ix_runs_tenant", "runs", ["tenant_id", "created_at", "id"])
    op.create_index("ix_runs_conversation", "runs", ["conversation_id", "created_at", "id"])
    op.create_index("ix_runs_ended_at", "runs", ["ended_at"])


def create_approvals() -> None:
    op.create_table(
        "approvals",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("run_id", sa.Uuid(), nullable=False),
        sa.Column("call_id", sa.Text(), nullable=False),
        sa.Column("agent", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("arguments", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), server_default="pending", nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("decided_by", sa.Text(), nullable=True),
        sa.Column("created_at", MOMENT, server_default=sa.text("now()"), nullable=False),
        sa.Column("decided_at", MOMENT, nullable=True),
        sa.CheckConstraint(
            "status in ('pending', 'approved', 'rejected', 'expired')", name=op.f("ck_approvals_status")
        ),
        sa.CheckConstraint("(status = 'pending') = (decided_at is null)", name=op.f("ck_approvals_decided")),
        sa.ForeignKeyConstraint(
            ["run_id"], ["runs.id"], name=op.f("fk_approvals_run_id_runs"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_approvals")),
    )
    op.create_index("ix_approvals_run_id_call_id", "approvals", ["run_id", "call_id"], unique=True)


def create_tool_calls() -> None:
    op.create_table(
        "tool_calls",
        sa.Column("run_id", sa.Uuid(), nullable=False),
        sa.Column("call_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("arguments", sa.Text(), nullable=False),
        sa.Column("output", sa.Text(), nullable=True),
        sa.Column("begun_at", MOMENT, server_default=sa.text("now()"), nullable=False),
        sa.Column("ended_at", MOMENT, nullable=True),
        sa.ForeignKeyConstraint(
            ["run_id"], ["runs.id"], name=op.f("fk_tool_calls_run_id_runs"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("run_id", "call_id", name=op.f("pk_tool_calls")),
    )


def downgrade() -> None:
    op.drop_table("tool_calls")
    op.drop_table("approvals")
    op.execute("drop trigger enforce_run_transition on runs")
    op.execute("drop function enforce_run_transition()")
    # The older schema knows neither waiting nor queued runs, and none without an owner.
    op.execute("update runs set status = 'cancelled', ended_at = now() where status in ('queued', 'waiting')")
    op.execute(
        "update runs set owner = coalesce(owner, ''), lease_expires_at = coalesce(lease_expires_at, now())"
    )
    for index in ("ended_at", "conversation", "tenant", "waiting", "queue"):
        op.drop_index(f"ix_runs_{index}", "runs")
    op.drop_index("uq_runs_conversation_active", "runs")
    op.create_index(
        "uq_runs_conversation_running",
        "runs",
        ["conversation_id"],
        unique=True,
        postgresql_where=sa.text("status = 'running'"),
    )
    for name in ("stop", "ended", "status"):
        op.drop_constraint(op.f(f"ck_runs_{name}"), "runs")
    op.create_check_constraint(
        op.f("ck_runs_status"), "runs", "status in ('running', 'completed', 'failed', 'cancelled')"
    )
    op.create_check_constraint(op.f("ck_runs_ended"), "runs", "(status = 'running') = (ended_at is null)")
    op.alter_column("runs", "lease_expires_at", nullable=False)
    op.alter_column("runs", "owner", nullable=False)
    for column in (
        "started_at",
        "cost",
        "waiting_until",
        "state",
        "stop",
        "losses",
        "attempt",
        "position",
        "prelude",
    ):
        op.drop_column("runs", column)
