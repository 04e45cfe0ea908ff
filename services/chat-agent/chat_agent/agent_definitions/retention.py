"""Deletes agents that were deleted, when no run needs them any more, and those of purged tenants."""

from datetime import timedelta

from servicekit import erasure
from servicekit.retention import RetentionRule
from sqlalchemy import cast, exists, func
from sqlalchemy.dialects.postgresql import JSONB

from chat_agent.agent_definitions.tables import StoredAgent, StoredVersion
from chat_agent.http_tools.tables import StoredTool
from chat_agent.models import UNFINISHED, Base, Run

# A run that is about to begin with an agent has begun by then.
GRACE_PERIOD = timedelta(hours=1)


def agent_rules() -> list[RetentionRule]:
    """Return which agents are deleted with their versions."""
    agents = Base.metadata.tables["agents"]
    needed = exists().where(
        Run.tenant_id == StoredAgent.tenant_id,
        Run.status.in_(UNFINISHED),
        Run.agent_versions.contains(
            func.jsonb_build_array(func.jsonb_build_object("name", StoredAgent.name))
        ),
    )
    unneeded = StoredAgent.deleted_at < func.now() - GRACE_PERIOD
    return [
        (agents, unneeded & ~needed),
        (agents, StoredAgent.tenant_id.in_(erasure.purgeable_tenants())),
    ]


def tool_rules() -> list[RetentionRule]:
    """Return which versions of HTTP tools are deleted: those that no version of an agent names."""
    tools = Base.metadata.tables["http_tools"]
    this = func.jsonb_build_array(func.jsonb_build_object("digest", StoredTool.digest))
    named = exists().where(
        StoredVersion.tenant_id == StoredTool.tenant_id,
        cast(StoredVersion.definition, JSONB).contains(func.jsonb_build_object("tools", this)),
    )
    return [
        (tools, (StoredTool.replaced_at < func.now() - GRACE_PERIOD) & ~named),
        (tools, StoredTool.tenant_id.in_(erasure.purgeable_tenants())),
    ]
