"""Deletes agents that were deleted, when no run needs them any more, and those of purged tenants."""

from datetime import timedelta

from servicekit import erasure
from servicekit.retention import RetentionRule
from sqlalchemy import exists, func

from chat_agent.agent_definitions.tables import StoredAgent
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
