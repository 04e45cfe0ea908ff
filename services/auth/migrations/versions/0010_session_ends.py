"""Two more reasons why sessions end: the tenant requires a second factor, or an operator ended them."""

from alembic import op

revision = "0010"
down_revision = "0009"

REASONS = (
    "logout",
    "logout_all",
    "token_reused",
    "account",
    "membership",
    "tenant",
    "switched",
    "revoked",
    "evicted",
)
NEW_REASONS = ("mfa_required", "operator")


def upgrade() -> None:
    allow(*REASONS, *NEW_REASONS)


def downgrade() -> None:
    op.execute("update sessions set end_reason = 'revoked' where end_reason in ('mfa_required', 'operator')")
    allow(*REASONS)


def allow(*reasons: str) -> None:
    op.drop_constraint(op.f("ck_sessions_end_reason"), "sessions")
    words = ", ".join(f"'{reason}'" for reason in reasons)
    op.create_check_constraint("end_reason", "sessions", f"end_reason in ({words})")
