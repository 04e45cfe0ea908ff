"""the version of entitlements is one number"""

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

# So that no version is less than one that was published: until now, those of subscriptions were added.
ADD = """
insert into entitlement_versions (tenant_id, version)
select tenant_id, sum(version) from subscriptions group by tenant_id
on conflict (tenant_id) do update set version = entitlement_versions.version + excluded.version
"""
SUBTRACT = """
update entitlement_versions set version = entitlement_versions.version - own.version
from (select tenant_id, sum(version) as version from subscriptions group by tenant_id) own
where own.tenant_id = entitlement_versions.tenant_id
"""


def upgrade() -> None:
    op.execute(ADD)


def downgrade() -> None:
    op.execute(SUBTRACT)
