"""codes of failed calls of tools, in place of names of classes"""

from alembic import op

revision = "0029"
down_revision = "0028"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        "update tool_calls set error = case error"
        " when 'GuardrailTriggered' then 'guardrail_triggered'"
        " when 'GuardrailUnavailable' then 'guardrail_unavailable'"
        " when 'ModelBehaviorError' then 'invalid_tool_arguments'"
        " when 'ToolTimeoutError' then 'tool_timed_out'"
        " when 'ToolFailed' then 'tool_failed'"
        " when 'McpToolChanged' then 'tool_changed'"
        " when 'McpCallFailed' then 'tool_failed'"
        " when 'McpAccessDenied' then 'tool_access_denied'"
        " when 'McpSignInRequired' then 'tool_access_denied'"
        " when 'McpSignInFailed' then 'tool_access_denied'"
        " when 'McpServerUnavailable' then 'tool_server_unavailable'"
        " when 'InvalidMcpResponse' then 'tool_server_unavailable'"
        " when 'ServerUnavailable' then 'tool_server_unavailable'"
        " else 'internal_error' end"
        " where error is not null"
    )


def downgrade() -> None:
    # The older version takes any text.
    pass
