"""tools of MCP servers keep the order of their schemas' properties"""

from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0033"
down_revision = "0032"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.alter_column("mcp_servers", "tools", type_=postgresql.JSON(), postgresql_using="tools::json")


def downgrade() -> None:
    op.alter_column("mcp_servers", "tools", type_=postgresql.JSONB(), postgresql_using="tools::jsonb")
