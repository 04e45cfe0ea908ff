"""How things stand with conversations, in the words of those who need something of them."""

from uuid import UUID

from conversation import conversations, items, summaries, turns
from conversation.limits import ConversationLimits
from conversation.models import Conversation
from conversation.quotas import Quotas
from conversation.schemas import NewConversation, NewItem, NewSummary, NewTurn
from servicekit.app import Resources
from servicekit.auth.tokens import Principal
from sqlalchemy import update
from testkit.pact_provider import State
from testkit.pacts import TENANT, USER

CONVERSATION = "c0000000-0000-4000-8000-000000000001"
RUN = "a0000000-0000-4000-8000-000000000001"
LIMITED = Quotas(ConversationLimits())
OF_ANOTHER = "c0000000-0000-4000-8000-000000000002"


def caller(subject: str = USER) -> Principal:
    """Return somebody of the tenant that pacts speak of."""
    return Principal(
        subject=subject,
        tenant_id=TENANT,
        role=None,
        scopes=frozenset(),
        client_id="acme-web",
        session_id=None,
        token_id="-",
        email_verified=True,
        amr=(),
        auth_time=None,
        audience=(),
        expires_at=0,
    )


async def nothing(resources: Resources) -> None:
    """There is no conversation."""


async def an_empty_conversation(resources: Resources, conversation_id: str = CONVERSATION) -> None:
    async with resources.database.begin() as db:
        await conversations.get_or_create(db, caller(), UUID(conversation_id), NewConversation(), LIMITED)


async def a_conversation_with_one_message(
    resources: Resources, conversation_id: str = CONVERSATION, item_id: str = "item-1", text: str = "Hello"
) -> None:
    hello = NewItem(id=item_id, data={"type": "message", "role": "user", "content": text})
    await an_empty_conversation(resources, conversation_id)
    async with resources.database.begin() as db:
        await items.append(db, caller(), UUID(conversation_id), [hello], LIMITED)


async def a_conversation_with_a_summary(resources: Resources) -> None:
    await a_conversation_with_one_message(resources)
    summary = NewSummary(text="In short.", first_position=1, last_position=1, item_count=1)
    async with resources.database.begin() as db:
        await summaries.store(db, caller(), UUID(CONVERSATION), "summary-1", summary, LIMITED)


async def a_conversation_with_one_turn(resources: Resources) -> None:
    await a_conversation_with_one_message(resources, item_id=f"{RUN}-0001")


async def a_conversation_with_a_turn_in_its_third_attempt(resources: Resources) -> None:
    await an_empty_conversation(resources)
    newest = NewTurn(attempt=3, items=[], last=1)
    async with resources.database.begin() as db:
        await turns.begin(db, caller(), UUID(CONVERSATION), UUID(RUN), newest, LIMITED)


async def a_conversation_of_another(resources: Resources, conversation_id: str = OF_ANOTHER) -> None:
    another = caller("user:05e70000-0000-4000-8000-00000000000f")
    async with resources.database.begin() as db:
        await conversations.get_or_create(db, another, UUID(conversation_id), NewConversation(), LIMITED)


async def a_conversation_that_is_full(resources: Resources) -> None:
    await a_conversation_with_one_message(resources)
    most = resources.settings.limits.model_dump()["items_per_conversation"]
    async with resources.database.begin() as db:
        full = update(Conversation).where(Conversation.id == UUID(CONVERSATION)).values(item_count=most)
        await db.execute(full)


STATES: dict[str, State] = {
    "no conversation": nothing,
    "an empty conversation": an_empty_conversation,
    "a conversation with one message": a_conversation_with_one_message,
    "a conversation with a summary": a_conversation_with_a_summary,
    "a conversation with one turn": a_conversation_with_one_turn,
    "a conversation with a turn in its third attempt": a_conversation_with_a_turn_in_its_third_attempt,
    "a conversation that is full": a_conversation_that_is_full,
    "a conversation of another": a_conversation_of_another,
}
