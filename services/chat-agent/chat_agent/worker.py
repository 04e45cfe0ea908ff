"""The background workers of the chat-agent."""

from datetime import timedelta

from servicekit import erasure
from servicekit.app import Resources, run_workers
from servicekit.events.relay import Consumer, OutboxRelay
from servicekit.retention import RetentionRule, RetentionWorker
from servicekit.workers.supervisor import Worker
from sqlalchemy import func, select

from chat_agent.agent_definitions.retention import agent_rules, tool_rules
from chat_agent.attachments.tables import StoredFile
from chat_agent.erasure.handlers import HANDLERS
from chat_agent.erasure.worker import create_erasure_worker, deleted_tenants_rules
from chat_agent.events import READERS
from chat_agent.mcp_servers.retention import mcp_rules
from chat_agent.memory.erasure import memory_rules
from chat_agent.models import Attachment, Base, Run
from chat_agent.settings import Settings
from chat_agent.tenant_secrets.rotation import SecretReencryption
from chat_agent.tenant_secrets.tables import StoredSecret


def workers(resources: Resources) -> list[Worker]:
    """Return the workers that publish events, consume them, erase and delete."""
    settings = Settings.of(resources)
    return [
        OutboxRelay(resources.database, resources.redis, source=resources.name, readers=READERS),
        Consumer(
            resources.database, resources.redis, service=resources.name, sources=("auth",), handlers=HANDLERS
        ),
        create_erasure_worker(resources.database, resources.redis, settings),
        RetentionWorker(resources.database, rules=retention_rules(settings)),
        *secret_workers(resources, settings),
    ]


def secret_workers(resources: Resources, settings: Settings) -> list[Worker]:
    """Return what encrypts secrets anew while their key is being changed."""
    keys = settings.secret_keys
    return [SecretReencryption(resources.database, keys)] if len(keys) > 1 else []


def retention_rules(settings: Settings) -> list[RetentionRule]:
    """Return what is deleted when its time is over."""
    return [
        expired_runs_rule(settings),
        expired_attachments_rule(settings),
        expired_files_rule(),
        *deleted_tenants_rules(),
        *agent_rules(),
        *mcp_rules(),
        (Base.metadata.tables["tenant_secrets"], StoredSecret.tenant_id.in_(erasure.purgeable_tenants())),
        *memory_rules(),
        *tool_rules(),
    ]


def expired_runs_rule(settings: Settings) -> RetentionRule:
    """Return the rule that deletes old runs."""
    return Base.metadata.tables["runs"], Run.ended_at < func.now() - timedelta(
        days=settings.run_retention_days
    )


def expired_attachments_rule(settings: Settings) -> RetentionRule:
    """Return the rule that deletes the images and files of conversations that were temporary."""
    expired = select(Run.id).where(
        Run.persistence == "temporary",
        Run.ended_at < func.now() - timedelta(hours=settings.temporary_conversation_hours),
    )
    return Base.metadata.tables["attachments"], Attachment.run_id.in_(expired)


def expired_files_rule() -> RetentionRule:
    """Return the rule that deletes uploaded files that have expired."""
    return Base.metadata.tables["files"], StoredFile.expires_at < func.now()


if __name__ == "__main__":
    run_workers("chat-agent", Settings.load(), workers)
