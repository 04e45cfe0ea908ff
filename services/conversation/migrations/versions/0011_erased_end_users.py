"""End users that were erased: what their runs of before store late is refused."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    op.create_table(
        "erased_end_users",
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("erased_before", sa.TIMESTAMP(timezone=True), nullable=False),
        sa.Column(
            "recorded_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False
        ),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_erased_end_users")),
    )


def downgrade() -> None:
    op.drop_table("erased_end_users")
