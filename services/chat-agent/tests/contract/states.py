"""How things stand with the chat-agent, in the words of those who need something of it."""

from datetime import timedelta
from uuid import uuid4

from chat_agent.events import AuditRecorded, EndUserErased
from chat_agent.runs import store
from chat_agent.runs.leases import Lease
from chat_agent.runs.outcome import Outcome
from chat_agent.schemas import ModelUsage, Usage
from servicekit.app import Resources
from servicekit.events.outbox import publish
from testkit.pact_provider import State
from testkit.pacts import TENANT, USER

END_USER = f"service:ak.{'0a' * 16}/alice"


async def a_run_is_over(resources: Resources) -> None:
    """Leave what a run tells at its end in the outbox."""
    started = {
        "id": uuid4(),
        "tenant_id": TENANT,
        "user_id": USER,
        "conversation_id": uuid4(),
        "agent": "triage",
        "model": "sandbox-large",
        "message": "Hello",
        "idempotency_key": None,
    }
    used = ModelUsage(model="sandbox-large", requests=1, input_tokens=20, output_tokens=10)
    outcome = Outcome("completed", "triage", output="Hi", usage=Usage(models=[used]))
    async with resources.database.begin() as session:
        lease = Lease("a replica", timedelta(minutes=1))
        is_begun = await store.start(session, started, lease, "enqueue", is_alone=True)
        assert is_begun is not None
        await store.end(session, is_begun.run, outcome)


async def an_end_user_was_erased(resources: Resources) -> None:
    """Leave in the outbox that an end user of an application was erased."""
    erased = EndUserErased(tenant_id=TENANT, user_id=END_USER)
    async with resources.database.begin() as session:
        publish(session, erased, tenant_id=TENANT, subject=END_USER)


async def an_admin_has_published_an_agent(resources: Resources) -> None:
    """Leave in the outbox what the audit log is to hold."""
    detail = {"agent": "support", "version": 3}
    recorded = AuditRecorded(
        tenant_id=TENANT,
        action="chat_agent_published",
        actor=USER,
        session_id=str(uuid4()),
        request_id="a-request",
        detail=detail,
    )
    async with resources.database.begin() as session:
        publish(session, recorded, tenant_id=TENANT, subject=f"tenant:{TENANT}")


STATES: dict[str, State] = {
    "a run is over": a_run_is_over,
    "an admin has published an agent": an_admin_has_published_an_agent,
    "an end user was erased": an_end_user_was_erased,
}
