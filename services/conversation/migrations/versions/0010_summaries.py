"""summaries that agents read in place of other items"""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    op.add_column("conversations", sa.Column("summary_position", sa.Integer(), nullable=True))
    op.add_column(
        "conversations", sa.Column("summary_until", sa.Integer(), server_default="0", nullable=False)
    )
    op.add_column("items", sa.Column("summary_from", sa.Integer(), nullable=True))
    op.add_column("items", sa.Column("summary_until", sa.Integer(), nullable=True))
    op.create_index(
        "ix_items_summaries",
        "items",
        ["conversation_id", "position"],
        postgresql_where=sa.text("summary_until is not null"),
    )


def downgrade() -> None:
    op.execute("delete from items where summary_until is not null")
    op.drop_index("ix_items_summaries", "items")
    op.drop_column("items", "summary_until")
    op.drop_column("items", "summary_from")
    op.drop_column("conversations", "summary_until")
    op.drop_column("conversations", "summary_position")
