"""The actions on agents that belong in a tenant's audit log."""

from enum import StrEnum


class AuditAction(StrEnum):
    """What was done."""

    SAVED = "chat_agent_draft_saved"
    PUBLISHED = "chat_agent_published"
    ROLLED_BACK = "chat_agent_rolled_back"
    DELETED = "chat_agent_deleted"
