"""The signing keys, sealed, for replicas that share no file."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    op.create_table(
        "signing_key_rings",
        sa.Column("id", sa.SmallInteger, autoincrement=False, nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("document", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_signing_key_rings"),
        sa.CheckConstraint("id = 1", name=op.f("ck_signing_key_rings_only_one")),
    )


def downgrade() -> None:
    op.drop_table("signing_key_rings")
