"""reports by agent and version"""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None

# Of feedback that is there, from the run's versions.
VERSIONS = """
update feedback set version = cast(entry ->> 'number' as integer), digest = entry ->> 'digest'
from (
    select runs.id, jsonb_path_query_first(
        runs.agent_versions, '$[*] ? (@.name == $name)', jsonb_build_object('name', given.agent)
    ) as entry
    from runs join feedback as given on given.run_id = runs.id
) as found
where found.id = feedback.run_id and found.entry is not null
"""


def upgrade() -> None:
    op.create_index("ix_runs_agent", "runs", ["tenant_id", "agent", "created_at"])
    op.create_index(
        "ix_runs_final_agent",
        "runs",
        ["tenant_id", "final_agent", "created_at"],
        postgresql_where=sa.text("final_agent <> agent"),
    )
    op.add_column("feedback", sa.Column("version", sa.Integer(), nullable=True))
    op.add_column("feedback", sa.Column("digest", sa.Text(), nullable=True))
    op.create_index("ix_feedback_agent", "feedback", ["tenant_id", "agent", "created_at", "run_id"])
    op.execute(VERSIONS)


def downgrade() -> None:
    op.drop_index("ix_feedback_agent", "feedback")
    op.drop_column("feedback", "digest")
    op.drop_column("feedback", "version")
    op.drop_index("ix_runs_final_agent", "runs")
    op.drop_index("ix_runs_agent", "runs")
