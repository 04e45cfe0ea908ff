"""Recovery codes kept by a salted password hash; those of before have none and work until they are used."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    op.add_column("recovery_codes", sa.Column("secret_hash", sa.Text))


def downgrade() -> None:
    # The older version finds a code by all of it, and would take the number of a newer one for that.
    op.execute("delete from recovery_codes where secret_hash is not null")
    op.drop_column("recovery_codes", "secret_hash")
