"""agents as data"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

TIME = postgresql.TIMESTAMP(timezone=True)


def upgrade() -> None:
    op.create_table(
        "agents",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("created_at", TIME, server_default=sa.func.now(), nullable=False),
        sa.Column("deleted_at", TIME, nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_agents")),
    )
    op.create_index(
        "uq_agents_name",
        "agents",
        ["tenant_id", "name"],
        unique=True,
        postgresql_where=sa.text("deleted_at is null"),
    )
    op.create_index(op.f("ix_agents_deleted_at"), "agents", ["deleted_at"])
    create_versions()
    op.create_table(
        "agent_releases",
        sa.Column("agent_id", sa.Uuid(), nullable=False),
        sa.Column("label", sa.Text(), nullable=False),
        sa.Column("version_id", sa.Uuid(), nullable=False),
        sa.Column("percentage", sa.Integer(), server_default="100", nullable=False),
        sa.CheckConstraint("label in ('stable', 'canary')", name=op.f("ck_agent_releases_label")),
        sa.CheckConstraint("percentage between 1 and 100", name=op.f("ck_agent_releases_percentage")),
        sa.ForeignKeyConstraint(
            ["agent_id"], ["agents.id"], name=op.f("fk_agent_releases_agent_id_agents"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["version_id"],
            ["agent_versions.id"],
            name=op.f("fk_agent_releases_version_id_agent_versions"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("agent_id", "label", name=op.f("pk_agent_releases")),
    )
    op.add_column(
        "runs", sa.Column("agent_versions", postgresql.JSONB(), server_default="[]", nullable=False)
    )


def create_versions() -> None:
    op.create_table(
        "agent_versions",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("agent_id", sa.Uuid(), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("definition", postgresql.JSONB(), nullable=False),
        sa.Column("schema_version", sa.Integer(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("note", sa.Text(), server_default="", nullable=False),
        sa.Column("state", sa.Text(), server_default="draft", nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("created_at", TIME, server_default=sa.func.now(), nullable=False),
        sa.Column("published_at", TIME, nullable=True),
        sa.CheckConstraint(
            "state in ('draft', 'published', 'retired')", name=op.f("ck_agent_versions_state")
        ),
        sa.CheckConstraint(
            "(state = 'draft') = (published_at is null)", name=op.f("ck_agent_versions_published")
        ),
        sa.ForeignKeyConstraint(
            ["agent_id"], ["agents.id"], name=op.f("fk_agent_versions_agent_id_agents"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_agent_versions")),
    )
    op.create_index("uq_agent_versions_number", "agent_versions", ["agent_id", "number"], unique=True)
    op.create_index(
        "uq_agent_versions_draft",
        "agent_versions",
        ["agent_id"],
        unique=True,
        postgresql_where=sa.text("state = 'draft'"),
    )
    op.create_index(op.f("ix_agent_versions_digest"), "agent_versions", ["tenant_id", "digest"])


def downgrade() -> None:
    op.drop_column("runs", "agent_versions")
    op.drop_table("agent_releases")
    op.drop_table("agent_versions")
    op.drop_table("agents")
