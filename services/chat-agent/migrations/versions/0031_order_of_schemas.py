"""JSON with schemas keeps the order of their properties"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0031"
down_revision = "0030"

COLUMNS = (
    ("runs", "options"),
    ("runs", "definition"),
    ("agent_versions", "definition"),
    ("http_tools", "document"),
)


def upgrade() -> None:
    change(postgresql.JSON())


def downgrade() -> None:
    change(postgresql.JSONB())


def change(kind: sa.types.TypeEngine) -> None:
    for table, column in COLUMNS:
        op.alter_column(table, column, type_=kind, postgresql_using=f"{column}::{kind.compile().lower()}")
