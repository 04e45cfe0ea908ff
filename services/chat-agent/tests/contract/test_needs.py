"""What the chat-agent needs of others, played with its real clients, and so written down."""

import contextlib
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from datetime import UTC, datetime
from uuid import UUID

import pytest
from chat_agent.clients import auth
from chat_agent.clients.auth import MembershipClient
from chat_agent.clients.conversation import (
    SCOPE,
    ConversationClient,
    HistoryChanged,
    NewSummary,
    StoredItem,
    TurnRef,
)
from chat_agent.erasure.handlers import HANDLERS
from chat_agent.errors import (
    ConversationLimitReached,
    ConversationNotFound,
    ItemNotFound,
    MembershipEnded,
    Superseded,
    TenantSuspended,
)
from chat_agent.models import Run
from pact import match
from pydantic import SecretStr
from servicekit import erasure
from servicekit.database import Database
from servicekit.erasure import tenants
from servicekit.http.client import HttpPool
from servicekit.http.service_tokens import ServiceClient, ServiceTokens
from sqlalchemy import select
from testkit.pacts import ON_BEHALF_OF, TENANT, USER, consumer_pact, machine, service_tokens

CONVERSATION = UUID("c0000000-0000-4000-8000-000000000001")
OF_ANOTHER = UUID("c0000000-0000-4000-8000-000000000002")
ITEMS = f"/internal/v1/conversations/{CONVERSATION}/items"
RUN = UUID("a0000000-0000-4000-8000-000000000001")
TURN = f"/internal/v1/conversations/{CONVERSATION}/turns/{RUN}"
MINE = TurnRef(CONVERSATION, RUN, 2)
HELLO = {"type": "message", "role": "user", "content": "Hello"}
BEARER = machine("chat-agent", "conversation", SCOPE)

VERSION = {"tenant_id": match.uuid(str(TENANT)), "version": match.int(2)}
MOMENT = match.regex("2126-01-02T03:04:05Z", regex=r"^\d{4}-\d\d-\d\dT[\d:.]+(Z|\+00:00)$")
LEFT = {
    "user_id": match.regex(USER, regex=r"^user:[0-9a-f-]{36}$"),
    "tenant_ids": match.each_like(match.uuid(str(TENANT)), min=1),
}


@pytest.mark.parametrize(
    ("type_", "what", "given", "data"),
    [
        ("auth.user.deleted.v1", "somebody has left", "somebody has left for good", LEFT),
        (
            "auth.tenant.deleted.v1",
            "a tenant was deleted",
            "a tenant was deleted",
            {**VERSION, "purge_after": MOMENT},
        ),
        ("auth.tenant.suspended.v1", "a tenant was suspended", "a tenant was suspended", VERSION),
        ("auth.tenant.reactivated.v1", "a tenant was reactivated", "a tenant was reactivated", VERSION),
    ],
)
async def test_hears_who_has_left_and_what_becomes_of_a_tenant(
    settings, type_: str, what: str, given: str, data: dict
) -> None:
    database = Database(settings.database_url, name="test")
    with consumer_pact("chat-agent", "auth") as pact:
        received = pact.event(what, type_, data, states=given)
        async with database.begin() as session:
            await HANDLERS[received.type](session, received)
        async with database.begin() as session:
            left = await session.scalar(erasure.is_deleted_user(USER))
            assert await session.scalar(select(tenants.c.id)) == TENANT
            assert (left is not None) == (type_ == "auth.user.deleted.v1")
    await database.close()


@asynccontextmanager
async def conversations(url: str) -> AsyncIterator[ConversationClient]:
    async with aclosing(HttpPool()) as http:
        client = ServiceClient(http, service_tokens("chat-agent"), url, "conversation", SCOPE)
        yield ConversationClient(client, TENANT, USER)


def request(pact, what: str, given: str, method: str, path: str, bearer: str = BEARER):
    """Begin an interaction: who asks, for whom, and what."""
    return (
        pact.upon_receiving(what)
        .given(given)
        .with_request(method, path)
        .with_header("Authorization", bearer)
        .with_header("Acme-On-Behalf-Of", ON_BEHALF_OF)
    )


async def test_makes_a_conversation_unless_it_is_there() -> None:
    with consumer_pact("chat-agent", "conversation") as pact:
        path = f"/internal/v1/conversations/{CONVERSATION}"
        request(pact, "a conversation to be there", "no conversation", "PUT", path).with_body(
            {}, "application/json"
        ).will_respond_with(200)
        with pact.serve() as server:
            async with conversations(str(server.url)) as mine:
                await mine.create_if_missing(CONVERSATION)


async def test_does_not_see_the_conversation_of_another() -> None:
    with consumer_pact("chat-agent", "conversation") as pact:
        path = f"/internal/v1/conversations/{OF_ANOTHER}"
        request(pact, "the conversation of another", "a conversation of another", "PUT", path).with_body(
            {}, "application/json"
        ).will_respond_with(404)
        with pact.serve() as server:
            async with conversations(str(server.url)) as mine:
                with pytest.raises(ConversationNotFound):
                    await mine.create_if_missing(OF_ANOTHER)


async def test_reads_the_last_items() -> None:
    item = {"id": match.str("item-1"), "data": match.like(HELLO), "position": match.int(1)}
    with consumer_pact("chat-agent", "conversation") as pact:
        request(pact, "the last items", "a conversation with one message", "GET", ITEMS).with_query_parameter(
            "last", "200"
        ).will_respond_with(200).with_body({"items": match.each_like(item)}, "application/json")
        with pact.serve() as server:
            async with conversations(str(server.url)) as mine:
                assert await mine.items(CONVERSATION, last=200) == [
                    StoredItem(id="item-1", data=HELLO, position=1)
                ]


async def test_reads_what_its_run_has_superseded_too() -> None:
    item = {"id": match.str("item-1"), "data": match.like(HELLO), "position": match.int(1)}
    with consumer_pact("chat-agent", "conversation") as pact:
        read = request(
            pact, "the last items before a run", "a conversation with one message", "GET", ITEMS
        ).with_query_parameters({"last": "1000", "superseded_by": str(RUN)})
        read.will_respond_with(200).with_body({"items": match.each_like(item)}, "application/json")
        with pact.serve() as server:
            async with conversations(str(server.url)) as mine:
                assert await mine.items(CONVERSATION, last=1000, superseded_by=RUN) == [
                    StoredItem(id="item-1", data=HELLO, position=1)
                ]


@pytest.mark.parametrize(
    ("what", "given"),
    [
        ("a turn that begins a conversation", "no conversation"),
        ("a turn in a conversation", "a conversation with one message"),
        ("a turn that is there already", "a conversation with one turn"),
    ],
)
async def test_opens_a_turn(what: str, given: str) -> None:
    first = StoredItem(id=f"{RUN}-0001", data=HELLO)
    item = {"id": match.str(first.id), "data": match.like(HELLO)}
    with consumer_pact("chat-agent", "conversation") as pact:
        request(pact, what, given, "PUT", TURN).with_body(
            {"attempt": 2, "items": [{"id": first.id, "data": HELLO}], "last": 200}, "application/json"
        ).will_respond_with(200).with_body({"items": match.each_like(item)}, "application/json")
        with pact.serve() as server:
            async with conversations(str(server.url)) as mine:
                assert await mine.open_turn(MINE, [first], last=200) == [first]


async def test_opens_a_turn_in_a_temporary_conversation() -> None:
    first = StoredItem(id=f"{RUN}-0001", data=HELLO)
    item = {"id": match.str(first.id), "data": match.like(HELLO)}
    expires_at = datetime(2126, 1, 2, 3, 4, 5, tzinfo=UTC)
    sent = {"attempt": 2, "items": [{"id": first.id, "data": HELLO}], "last": 200}
    with consumer_pact("chat-agent", "conversation") as pact:
        request(pact, "a turn in a temporary conversation", "no conversation", "PUT", TURN).with_body(
            {**sent, "expires_at": expires_at.isoformat()}, "application/json"
        ).will_respond_with(200).with_body({"items": match.each_like(item)}, "application/json")
        with pact.serve() as server:
            async with conversations(str(server.url)) as mine:
                assert await mine.open_turn(MINE, [first], 200, expires_at) == [first]


async def test_opens_a_turn_of_an_end_users_run() -> None:
    first = StoredItem(id=f"{RUN}-0001", data=HELLO)
    item = {"id": match.str(first.id), "data": match.like(HELLO)}
    begun_at = datetime(2126, 1, 2, 3, 4, 5, tzinfo=UTC)
    sent = {"attempt": 2, "items": [{"id": first.id, "data": HELLO}], "last": 200}
    with consumer_pact("chat-agent", "conversation") as pact:
        request(pact, "a turn of an end user's run", "no conversation", "PUT", TURN).with_body(
            {**sent, "begun_at": begun_at.isoformat()}, "application/json"
        ).will_respond_with(200).with_body({"items": match.each_like(item)}, "application/json")
        with pact.serve() as server:
            async with conversations(str(server.url)) as mine:
                assert await mine.open_turn(MINE._replace(begun_at=begun_at), [first], 200) == [first]


async def test_reads_items_until_the_end_of_a_run() -> None:
    item = {"id": match.str(f"{RUN}-0001"), "data": match.like(HELLO)}
    with consumer_pact("chat-agent", "conversation") as pact:
        request(
            pact, "items until a run", "a conversation with one turn", "GET", ITEMS
        ).with_query_parameters({"last": "200", "until_run": str(RUN)}).will_respond_with(200).with_body(
            {"items": match.each_like(item)}, "application/json"
        )
        with pact.serve() as server:
            async with conversations(str(server.url)) as mine:
                assert len(await mine.items(CONVERSATION, 200, until_run=RUN)) == 1


async def test_deletes_a_conversation() -> None:
    with consumer_pact("chat-agent", "conversation") as pact:
        path = f"/internal/v1/conversations/{CONVERSATION}"
        given = "a conversation with one message"
        request(pact, "a conversation to be deleted", given, "DELETE", path).will_respond_with(204)
        with pact.serve() as server:
            async with conversations(str(server.url)) as mine:
                await mine.delete(CONVERSATION)


async def test_opens_a_turn_that_supersedes_what_there_was() -> None:
    first = StoredItem(id=f"{RUN}-0001", data=HELLO)
    sent = {"attempt": 2, "items": [{"id": first.id, "data": HELLO}], "last": 200, "supersedes_after": 0}
    with consumer_pact("chat-agent", "conversation") as pact:
        request(
            pact, "a turn that supersedes all items", "a conversation with one message", "PUT", TURN
        ).with_body(sent, "application/json").will_respond_with(200).with_body(
            {"items": [{"id": first.id, "data": match.like(HELLO)}]}, "application/json"
        )
        with pact.serve() as server:
            async with conversations(str(server.url)) as mine:
                assert await mine.open_turn(MINE, [first], last=200, supersedes_after=0) == [first]


RANGE = {"first_position": 1, "last_position": 1}
SUMMARY = NewSummary(text="In short.", item_count=1, replaces=None, **RANGE)
READ = StoredItem(
    id="summary-1",
    data={"type": "summary", "text": "In short."},
    position=2,
    kind="summary",
)
SUMMARY_ITEM = {**READ.model_dump(), "data": match.like(READ.data), "position": match.int(2)}
SUMMARY_PATH = f"/internal/v1/conversations/{CONVERSATION}/summaries/summary-1"


async def test_opens_a_turn_with_a_summary_in_place_of_items() -> None:
    first = StoredItem(id=f"{RUN}-0001", data=HELLO)
    sent = {"attempt": 2, "items": [{"id": first.id, "data": HELLO}], "last": 200, "compacted": True}
    with consumer_pact("chat-agent", "conversation") as pact:
        request(pact, "a turn that reads a summary", "a conversation with a summary", "PUT", TURN).with_body(
            sent, "application/json"
        ).will_respond_with(200).with_body(
            {"items": [SUMMARY_ITEM, {"id": first.id, "data": match.like(HELLO)}]}, "application/json"
        )
        with pact.serve() as server:
            async with conversations(str(server.url)) as mine:
                assert await mine.open_turn(MINE, [first], last=200, compacted=True) == [READ, first]


async def test_reads_the_history_with_its_summary() -> None:
    path = f"/internal/v1/conversations/{CONVERSATION}/history"
    with consumer_pact("chat-agent", "conversation") as pact:
        request(pact, "the history", "a conversation with a summary", "GET", path).with_query_parameter(
            "last", "1000"
        ).will_respond_with(200).with_body({"items": [SUMMARY_ITEM]}, "application/json")
        with pact.serve() as server:
            async with conversations(str(server.url)) as mine:
                assert await mine.history(CONVERSATION, last=1000) == [READ]


async def test_stores_a_summary() -> None:
    given = "a conversation with one message"
    with consumer_pact("chat-agent", "conversation") as pact:
        request(pact, "a summary to be stored", given, "PUT", SUMMARY_PATH).with_body(
            SUMMARY.model_dump(exclude_none=True), "application/json"
        ).will_respond_with(200)
        with pact.serve() as server:
            async with conversations(str(server.url)) as mine:
                await mine.store_summary(CONVERSATION, "summary-1", SUMMARY)


async def test_hears_that_what_it_has_summarized_has_changed() -> None:
    late = SUMMARY.model_copy(update={"item_count": 2})
    given = "a conversation with one message"
    with consumer_pact("chat-agent", "conversation") as pact:
        request(pact, "a summary of items that have changed", given, "PUT", SUMMARY_PATH).with_body(
            late.model_dump(exclude_none=True), "application/json"
        ).will_respond_with(409).with_body({"code": "history_changed"}, "application/problem+json")
        with pact.serve() as server:
            async with conversations(str(server.url)) as mine:
                with pytest.raises(HistoryChanged):
                    await mine.store_summary(CONVERSATION, "summary-1", late)


async def test_opens_no_turn_in_the_conversation_of_another() -> None:
    path = f"/internal/v1/conversations/{OF_ANOTHER}/turns/{RUN}"
    with consumer_pact("chat-agent", "conversation") as pact:
        request(
            pact, "a turn in the conversation of another", "a conversation of another", "PUT", path
        ).with_body({"attempt": 1, "items": [], "last": 1}, "application/json").will_respond_with(404)
        with pact.serve() as server:
            async with conversations(str(server.url)) as mine:
                with pytest.raises(ConversationNotFound):
                    await mine.open_turn(TurnRef(OF_ANOTHER, RUN, 1), [], last=1)


@pytest.mark.parametrize(
    ("what", "given"),
    [
        ("a turn to be taken back", "a conversation with one turn"),
        ("a turn that is not there to be taken back", "an empty conversation"),
    ],
)
async def test_forgets_a_turn(what: str, given: str) -> None:
    with consumer_pact("chat-agent", "conversation") as pact:
        request(pact, what, given, "DELETE", TURN).with_query_parameter("attempt", "2").will_respond_with(204)
        with pact.serve() as server:
            async with conversations(str(server.url)) as mine:
                await mine.delete_turn(MINE)


async def test_adds_items_to_a_turn() -> None:
    item = StoredItem(id=f"{RUN}-0002", data=HELLO)
    with consumer_pact("chat-agent", "conversation") as pact:
        request(pact, "items to be kept", "a conversation with one turn", "POST", f"{TURN}/items").with_body(
            {"attempt": 2, "items": [{"id": item.id, "data": HELLO}]}, "application/json"
        ).will_respond_with(200)
        with pact.serve() as server:
            async with conversations(str(server.url)) as mine:
                await mine.append(MINE, [item])


@pytest.mark.parametrize(
    ("what", "method", "path"),
    [
        ("a turn from an attempt that is over", "PUT", TURN),
        ("items from an attempt that is over", "POST", f"{TURN}/items"),
    ],
)
async def test_hears_that_a_newer_attempt_works_on_a_turn(what: str, method: str, path: str) -> None:
    item = StoredItem(id=f"{RUN}-0002", data=HELLO)
    sent = {"attempt": 2, "items": [{"id": item.id, "data": HELLO}]}
    with consumer_pact("chat-agent", "conversation") as pact:
        request(pact, what, "a conversation with a turn in its third attempt", method, path).with_body(
            sent if method == "POST" else {**sent, "last": 1}, "application/json"
        ).will_respond_with(409).with_body({"code": "turn_superseded"}, "application/problem+json")
        with pact.serve() as server:
            async with conversations(str(server.url)) as mine:
                late = mine.append(MINE, [item]) if method == "POST" else mine.open_turn(MINE, [item], last=1)
                with pytest.raises(Superseded):
                    await late


async def test_hears_that_a_conversation_is_full() -> None:
    item = StoredItem(id=f"{RUN}-0001", data=HELLO)
    sent = {"attempt": 2, "items": [{"id": item.id, "data": HELLO}], "last": 1}
    refused = {
        "code": "conversation_limit_reached",
        "detail": match.str("This conversation has 1 items, as many as it may have."),
    }
    with consumer_pact("chat-agent", "conversation") as pact:
        request(pact, "a turn where there is no room", "a conversation that is full", "PUT", TURN).with_body(
            sent, "application/json"
        ).will_respond_with(409).with_body(refused, "application/problem+json")
        with pact.serve() as server:
            async with conversations(str(server.url)) as mine:
                with pytest.raises(ConversationLimitReached, match="as many as it may have"):
                    await mine.open_turn(MINE, [item], last=1)


NOTED = {
    "conversation_id": match.uuid(str(CONVERSATION)),
    "created_at": MOMENT,
    "metadata": match.like({"topic": "plans"}),
}
NAMED = f"/internal/v1/conversations/{CONVERSATION}"


@pytest.mark.parametrize(
    ("method", "what"), [("PUT", "metadata of a new conversation"), ("PATCH", "metadata to be replaced")]
)
async def test_notes_metadata_of_a_conversation(method: str, what: str) -> None:
    given = "no conversation" if method == "PUT" else "a conversation with one message"
    notes = {"topic": "plans"}
    with consumer_pact("chat-agent", "conversation") as pact:
        request(pact, what, given, method, NAMED).with_body(
            {"metadata": notes}, "application/json"
        ).will_respond_with(200).with_body(NOTED, "application/json")
        with pact.serve() as server:
            async with conversations(str(server.url)) as mine:
                note = mine.create if method == "PUT" else mine.replace_metadata
                assert (await note(CONVERSATION, notes)).metadata == notes


async def test_reads_a_conversation_and_its_items() -> None:
    given = "a conversation with one message"
    item = {"id": match.str("item-1"), "data": match.like(HELLO)}
    noted = {**NOTED, "metadata": {}}
    with consumer_pact("chat-agent", "conversation") as pact:
        request(pact, "a conversation", given, "GET", NAMED).will_respond_with(200).with_body(
            noted, "application/json"
        )
        request(pact, "items in an order", given, "GET", f"{NAMED}/item-list").with_query_parameters(
            {"order": "desc", "limit": "20"}
        ).will_respond_with(200).with_body({"items": match.each_like(item)}, "application/json")
        request(pact, "an item", given, "GET", f"{ITEMS}/item-1").will_respond_with(200).with_body(
            item, "application/json"
        )
        request(pact, "an item that is not there", given, "GET", f"{ITEMS}/item-2").will_respond_with(
            404
        ).with_body({"code": "item_not_found"}, "application/problem+json")
        with pact.serve() as server:
            async with conversations(str(server.url)) as mine:
                assert (await mine.get(CONVERSATION)).metadata == {}
                [first] = (await mine.list_items(CONVERSATION, "desc", 20, None)).items
                assert await mine.item(CONVERSATION, "item-1") == first
                with pytest.raises(ItemNotFound):
                    await mine.item(CONVERSATION, "item-2")


async def test_adds_and_deletes_single_items() -> None:
    given = "a conversation with one message"
    with consumer_pact("chat-agent", "conversation") as pact:
        request(pact, "an item to be added", given, "POST", ITEMS).with_body(
            {"items": [{"id": "item-2", "data": HELLO}]}, "application/json"
        ).will_respond_with(200)
        request(pact, "an item to be deleted", given, "DELETE", f"{ITEMS}/item-1").will_respond_with(204)
        with pact.serve() as server:
            async with conversations(str(server.url)) as mine:
                await mine.add_items(CONVERSATION, [StoredItem(id="item-2", data=HELLO)])
                await mine.delete_item(CONVERSATION, "item-1")


async def test_takes_all_items_away() -> None:
    with consumer_pact("chat-agent", "conversation") as pact:
        request(
            pact, "all items to be taken away", "a conversation with one message", "DELETE", ITEMS
        ).will_respond_with(204)
        with pact.serve() as server:
            async with conversations(str(server.url)) as mine:
                await mine.clear(CONVERSATION)


async def test_exports_all_conversations() -> None:
    conversation = {"conversation_id": match.uuid(str(CONVERSATION))}
    item = {"id": match.str("item-1"), "data": match.like(HELLO)}
    with consumer_pact("chat-agent", "conversation") as pact:
        given = "a conversation with one message"
        for what, path, row in [
            ("all conversations", "/internal/v1/conversations", conversation),
            ("all items", f"/internal/v1/conversations/{CONVERSATION}/item-page", item),
        ]:
            request(pact, what, given, "GET", path).with_query_parameter("limit", "100").will_respond_with(
                200
            ).with_body({"items": match.each_like(row)}, "application/json")
        with pact.serve() as server:
            async with conversations(str(server.url)) as mine:
                assert [part["type"] async for part in mine.export()] == ["conversation", "item"]


async def test_deletes_all_conversations() -> None:
    with consumer_pact("chat-agent", "conversation") as pact:
        path = "/internal/v1/conversations"
        request(
            pact, "all conversations to be deleted", "no conversation", "DELETE", path
        ).with_query_parameter("erased_before", "2026-01-02T03:04:05+00:00").will_respond_with(200).with_body(
            {"deleted": match.int(0)}, "application/json"
        )
        with pact.serve() as server:
            async with conversations(str(server.url)) as mine:
                await mine.delete_all(datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC))


async def test_searches_messages() -> None:
    matches = {
        "conversation_id": match.uuid(str(CONVERSATION)),
        "role": match.str("user"),
        "snippet": match.str("Hello"),
        "created_at": match.regex("2026-01-02T03:04:05Z", regex=r"^\d{4}-\d\d-\d\dT.+$"),
    }
    with consumer_pact("chat-agent", "conversation") as pact:
        request(
            pact, "where something was said", "a conversation with one message", "GET", "/internal/v1/search"
        ).with_query_parameters({"query": "Hello", "limit": "5"}).will_respond_with(200).with_body(
            {"items": match.each_like(matches)}, "application/json"
        )
        with pact.serve() as server:
            async with conversations(str(server.url)) as mine:
                (match_,) = await mine.search("Hello")
    assert match_.role == "user"


API_KEY = f"service:ak.{'0a' * 16}"
VOUCHER = machine("chat-agent", "auth", auth.SCOPE)


async def still_may(url: str, subject: str = USER) -> None:
    async with aclosing(HttpPool()) as http:
        client = ServiceClient(http, service_tokens("chat-agent"), url, "auth", auth.SCOPE)
        await MembershipClient(client, timeout_seconds=60).require_active_member(
            Run(tenant_id=TENANT, user_id=subject)
        )


def vouching(pact, what: str, given: str, subject: str = USER):
    path = f"/internal/v1/tenants/{TENANT}/members/{subject}"
    return (
        pact.upon_receiving(what)
        .given(given)
        .with_request("GET", path)
        .with_header("Authorization", VOUCHER)
        .with_header("Acme-On-Behalf-Of", f"{TENANT}/{subject}")
    )


@pytest.mark.parametrize(
    ("given", "tenant_status", "refusal"),
    [
        ("somebody belongs to a tenant", "active", contextlib.nullcontext()),
        ("somebody belongs to a suspended tenant", "suspended", pytest.raises(TenantSuspended)),
    ],
)
async def test_asks_whether_the_owner_of_a_run_still_may(given: str, tenant_status: str, refusal) -> None:
    body = {"role": match.str("member"), "tenant_status": tenant_status, "user_status": "active"}
    with consumer_pact("chat-agent", "auth") as pact:
        vouching(pact, "what a run's owner is", given).will_respond_with(200).with_body(
            body, "application/json"
        )
        with pact.serve() as server, refusal:
            await still_may(str(server.url))


async def test_asks_the_same_of_a_machine() -> None:
    body = {"role": match.str("member"), "tenant_status": "suspended", "user_status": "active"}
    with consumer_pact("chat-agent", "auth") as pact:
        given = "an API key of a suspended tenant"
        vouching(pact, "what a run's machine is", given, API_KEY).will_respond_with(200).with_body(
            body, "application/json"
        )
        with pact.serve() as server, pytest.raises(TenantSuspended):
            await still_may(str(server.url), API_KEY)


async def test_hears_that_the_owner_of_a_run_belongs_to_the_tenant_no_more() -> None:
    with consumer_pact("chat-agent", "auth") as pact:
        vouching(pact, "what a run's owner is", "nobody belongs to the tenant").will_respond_with(404)
        with pact.serve() as server, pytest.raises(MembershipEnded):
            await still_may(str(server.url))


async def test_gets_a_token_of_its_own() -> None:
    form = (
        "grant_type=client_credentials&client_id=chat-agent&client_secret=a-secret-of-the-pacts"
        "&audience=conversation&scope=conversations%3Aread+conversations%3Awrite"
    )
    with consumer_pact("chat-agent", "auth") as pact:
        (
            pact.upon_receiving("a token for the conversation service")
            .given("the chat-agent has a secret", secret="a-secret-of-the-pacts")
            .with_request("POST", "/internal/v1/oauth/token")
            .with_body(form, "application/x-www-form-urlencoded")
            .will_respond_with(200)
            .with_body({"access_token": match.str("token"), "expires_in": match.int(600)}, "application/json")
        )
        with pact.serve() as server:
            async with aclosing(HttpPool()) as http:
                secret = SecretStr("a-secret-of-the-pacts")
                tokens = ServiceTokens(http, str(server.url), "chat-agent", secret)
                assert await tokens.get("conversation", SCOPE) == "token"
