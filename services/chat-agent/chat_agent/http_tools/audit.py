"""The actions on tools that belong in a tenant's audit log."""

from enum import StrEnum


class ToolAuditAction(StrEnum):
    """What was done."""

    SAVED = "chat_tool_saved"
    DELETED = "chat_tool_deleted"
