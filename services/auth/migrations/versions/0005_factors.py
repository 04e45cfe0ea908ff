"""Second factors, passkeys, recovery codes, and the challenges that are answered with them."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

MOMENT = sa.TIMESTAMP(timezone=True)
# All that mails with tokens are foreseen for: whichever migration widens it, none takes from another.
PURPOSES = "purpose in ('email_verification', 'password_reset', 'email_change', 'magic_link')"
AIMS = "aim in ('second_factor', 'passkey_sign_in', 'passkey_registration', 'step_up', 'enrolment')"


def person() -> sa.ForeignKey:
    return sa.ForeignKey("users.id", ondelete="CASCADE")


def upgrade() -> None:
    op.add_column("sessions", sa.Column("authenticated_at", MOMENT))
    op.execute("update sessions set authenticated_at = created_at")
    op.alter_column("sessions", "authenticated_at", nullable=False)
    op.add_column("tenants", sa.Column("mfa_required", sa.Boolean, nullable=False, server_default=sa.false()))
    op.drop_constraint(op.f("ck_email_tokens_purpose"), "email_tokens")
    op.create_check_constraint("purpose", "email_tokens", PURPOSES)
    op.create_table(
        "totp_factors",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("user_id", sa.Uuid, person(), nullable=False, unique=True),
        sa.Column("sealed_seed", sa.Text, nullable=False),
        sa.Column("last_step", sa.BigInteger, nullable=False),
        sa.Column("created_at", MOMENT, nullable=False, server_default=sa.func.now()),
        sa.Column("confirmed_at", MOMENT),
    )
    op.create_table(
        "passkeys",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("user_id", sa.Uuid, person(), nullable=False, index=True),
        sa.Column("credential_id", sa.LargeBinary, nullable=False, unique=True),
        sa.Column("public_key", sa.LargeBinary, nullable=False),
        sa.Column("sign_count", sa.BigInteger, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("created_at", MOMENT, nullable=False, server_default=sa.func.now()),
        sa.Column("last_used_at", MOMENT),
    )
    op.create_table(
        "recovery_codes",
        sa.Column("digest", sa.LargeBinary, primary_key=True),
        sa.Column("user_id", sa.Uuid, person(), nullable=False, index=True),
        sa.Column("used_at", MOMENT),
    )
    op.create_table(
        "factor_attempts",
        sa.Column("user_id", sa.Uuid, person(), primary_key=True),
        sa.Column("failures", sa.Integer, nullable=False),
        sa.Column("blocked_until", MOMENT),
    )
    op.create_table(
        "challenges",
        sa.Column("digest", sa.LargeBinary, primary_key=True),
        sa.Column("aim", sa.String(32), nullable=False),
        sa.Column("user_id", sa.Uuid, person(), index=True),
        sa.Column("tenant_id", sa.Uuid, sa.ForeignKey("tenants.id", ondelete="CASCADE"), index=True),
        sa.Column("session_id", sa.Uuid),
        sa.Column("amr", sa.ARRAY(sa.Text), nullable=False),
        sa.Column("origin_digest", sa.LargeBinary, nullable=False),
        sa.Column("expires_at", MOMENT, nullable=False, index=True),
        sa.CheckConstraint(AIMS, "aim"),
    )


def downgrade() -> None:
    for table in ("challenges", "factor_attempts", "recovery_codes", "passkeys", "totp_factors"):
        op.drop_table(table)
    op.execute("delete from email_tokens where purpose = 'magic_link'")
    op.drop_column("tenants", "mfa_required")
    op.drop_column("sessions", "authenticated_at")
