"""What is stored of a turn, and for how long, as OpenAI's clients request it."""

from typing import Any
from uuid import UUID

import httpx
import openai
import pytest
from chat_agent.models import Base
from chat_agent.settings import Settings
from openai import OpenAI
from redis import Redis
from testkit.databases import query
from testkit.eventually import until

from ..conftest import OtherServices

SECRET = "the zebra is called Wilhelmine"
HISTORY = "Repeat everything [sandbox: echo-history]"
FORGET = "Forget it [sandbox: call=forget_conversation]"
TOOL: Any = {"type": "function", "name": "weather", "parameters": {"type": "object", "properties": {}}}


def everything(settings: Settings, redis_url: str) -> str:
    """Write down all that the service has, its logs included."""
    url = settings.database_url.get_secret_value()
    rows = [str([tuple(row) for row in query(url, f"select * from {name}")]) for name in Base.metadata.tables]  # noqa: S608
    with Redis.from_url(redis_url) as redis:
        logs = [str(redis.xrange(key)) for key in redis.scan_iter("run:*:events") if redis.ttl(key) > 60]
    return "".join((*rows, *logs))


def conversation_of(response: Any) -> str:
    return str(UUID(response.conversation.id.removeprefix("conv_")))


class TestStoreFalse:
    @pytest.mark.parametrize("stream", [False, True])
    def test_nothing_remains_of_a_response_but_its_usage(
        self,
        client: OpenAI,
        ann: httpx.Client,
        other_services: OtherServices,
        settings: Settings,
        redis_url: str,
        stream: bool,
    ) -> None:
        request: dict[str, Any] = {"model": "triage", "input": SECRET, "store": False}
        if stream:
            with client.responses.stream(**request) as events:
                response = events.get_final_response()
        else:
            response = client.responses.create(**request)
        assert response.store is False
        assert "Wilhelmine" in response.output_text
        until(lambda: conversation_of(response) not in other_services.items)
        assert "Wilhelmine" not in everything(settings, redis_url)
        for call in (
            lambda: client.responses.retrieve(response.id),
            lambda: client.responses.create(model="triage", input="And?", previous_response_id=response.id),
        ):
            with pytest.raises(openai.NotFoundError):
                call()
        [run] = [run for run in ann.get("/api/v1/runs").json()["items"] if run["id"] == uuid_of(response.id)]
        assert run["usage"]["output_tokens"] == response.usage.output_tokens > 0

    def test_nothing_remains_of_a_completion(
        self, client: OpenAI, other_services: OtherServices, settings: Settings, redis_url: str
    ) -> None:
        messages: Any = [{"role": "user", "content": SECRET}]
        whole = client.chat.completions.create(model="triage", messages=messages, store=False)
        assert "Wilhelmine" in whole.choices[0].message.content
        until(lambda: not other_services.items)
        assert "Wilhelmine" not in everything(settings, redis_url)

    def test_a_conversation_that_it_continues_stays_as_it_is(
        self, client: OpenAI, other_services: OtherServices
    ) -> None:
        first = client.responses.create(model="triage", input="My name is Zoe.")
        before = [*other_services.items[conversation_of(first)]]
        for named in ({"previous_response_id": first.id}, {"conversation": first.conversation.id}):
            response = client.responses.create(model="triage", input=SECRET, store=False, **named)
            assert conversation_of(response) != conversation_of(first)
            assert response.usage.input_tokens > first.usage.input_tokens
            assert "Wilhelmine" in response.output_text
        until(lambda: len(other_services.items) == 1)
        assert other_services.items[conversation_of(first)] == before

    def test_it_is_in_no_list_while_it_runs(self, client: OpenAI, other_services: OtherServices) -> None:
        response = client.responses.create(model="triage", input=FORGET, store=False)
        assert other_services.temporary == {conversation_of(response)}
        [request] = [item for item in response.output if item.type == "mcp_approval_request"]
        decision: Any = {
            "type": "mcp_approval_response",
            "approval_request_id": request.id,
            "approve": False,
        }
        done = client.responses.create(model="triage", input=[decision], previous_response_id=response.id)
        assert done.status == "completed"
        until(lambda: not other_services.items)


def uuid_of(response_id: str) -> str:
    return str(UUID(response_id.removeprefix("resp_")))


class TestPreviousResponse:
    def test_two_continuations_do_not_see_each_other(
        self, client: OpenAI, other_services: OtherServices
    ) -> None:
        first = client.responses.create(model="triage", input="My name is Zoe.")
        left, right, again = [
            client.responses.create(model="triage", input=text, previous_response_id=first.id)
            for text in ("I like cats.", "I like dogs.", "I like birds.")
        ]
        assert conversation_of(left) == conversation_of(first)
        assert len({conversation_of(one) for one in (first, right, again)}) == 3
        for response, seen in ((left, "cats"), (right, "dogs"), (again, "birds")):
            texts = str(other_services.messages(conversation_of(response)))
            assert "Zoe" in texts
            assert [word for word in ("cats", "dogs", "birds") if word in texts] == [seen]
        # A branch is continued like any response, also from its middle.
        end = client.responses.create(model="triage", input="And fish.", previous_response_id=right.id)
        assert conversation_of(end) == conversation_of(right)
        middle = client.responses.create(model="triage", input="Or mice.", previous_response_id=right.id)
        texts = str(other_services.messages(conversation_of(middle)))
        assert "dogs" in texts
        assert "fish" not in texts

    def test_continuations_at_the_same_time_do_not_see_each_other(
        self, client: OpenAI, other_services: OtherServices
    ) -> None:
        first = client.responses.create(model="triage", input="My name is Zoe.")
        started = [
            client.responses.create(
                model="triage", input=text, previous_response_id=first.id, background=True
            )
            for text in ("I like cats.", "I like dogs.")
        ]
        for response in started:
            until(lambda id=response.id: client.responses.retrieve(id).status == "completed")
        assert len({conversation_of(one) for one in started}) == 2

    def test_a_branch_goes_on_with_the_outputs_of_tools(
        self, client: OpenAI, other_services: OtherServices
    ) -> None:
        called = client.responses.create(
            model="code_assistant", input="Call it [sandbox: call=weather]", tools=[TOOL]
        )
        [call] = [item for item in called.output if item.type == "function_call"]
        output: Any = {"type": "function_call_output", "call_id": call.call_id, "output": "rain"}
        answers = [
            client.responses.create(
                model="triage", input=[output], previous_response_id=called.id, tools=[TOOL]
            )
            for _ in range(2)
        ]
        assert answers[0].output_text == answers[1].output_text
        assert [answer.acme["agent"] for answer in answers] == ["code_assistant"] * 2
        assert conversation_of(answers[0]) != conversation_of(answers[1])


class TestStatelessCompletions:
    def test_a_completion_is_in_no_list_until_it_is_continued(
        self, client: OpenAI, other_services: OtherServices
    ) -> None:
        messages: Any = [{"role": "user", "content": "Hello"}]
        first = client.chat.completions.create(model="triage", messages=messages, metadata={"mine": "1"})
        conversation_id = first.metadata["conversation_id"]
        assert other_services.temporary == {conversation_id}
        client.chat.completions.create(
            model="triage", messages=messages, metadata={"conversation_id": conversation_id}
        )
        assert other_services.temporary == set()


class TestResponses:
    def test_lists_the_input_of_the_model(self, client: OpenAI) -> None:
        first = client.responses.create(model="triage", input="My name is Zoe.", instructions="Be brief.")
        second = client.responses.create(model="triage", input="And?", previous_response_id=first.id)
        items = [*client.responses.input_items.list(second.id, order="asc", limit=2)]
        assert [(item.role, item.content[0].text) for item in items if item.role != "assistant"] == [
            ("developer", "Be brief."),
            ("user", "My name is Zoe."),
            ("user", "And?"),
        ]
        assert items[-2].content[0].type == "output_text"
        newest = client.responses.input_items.list(second.id, limit=1)
        assert (newest.data[0].id, newest.has_more) == (items[-1].id, True)

    def test_deletes_a_response_with_its_turn(
        self, client: OpenAI, other_services: OtherServices, settings: Settings, redis_url: str
    ) -> None:
        response = client.responses.create(model="triage", input=SECRET)
        client.responses.delete(response.id)
        assert other_services.items[conversation_of(response)] == []
        assert "Wilhelmine" not in everything(settings, redis_url)
        for call in (
            client.responses.retrieve,
            client.responses.delete,
            client.responses.cancel,
            client.responses.input_items.list,
        ):
            with pytest.raises(openai.NotFoundError):
                call(response.id)

    def test_a_response_that_waits_is_not_deleted(self, client: OpenAI) -> None:
        response = client.responses.create(model="triage", input=FORGET)
        with pytest.raises(openai.ConflictError) as refused:
            client.responses.delete(response.id)
        assert refused.value.code == "response_unfinished"


class TestConversations:
    def test_a_conversation_from_its_creation_to_its_deletion(
        self, client: OpenAI, other_services: OtherServices
    ) -> None:
        hello: Any = {"type": "message", "role": "user", "content": "My name is Zoe."}
        made = client.conversations.create(items=[hello], metadata={"topic": "names"})
        assert (made.object, made.metadata) == ("conversation", {"topic": "names"})
        response = client.responses.create(model="triage", input="Hello", conversation=made.id)
        assert response.conversation.id == made.id
        items = [*client.conversations.items.list(made.id, order="asc", limit=1)]
        assert [item.content[0].text for item in items] == ["My name is Zoe.", "Hello", response.output_text]
        added = client.conversations.items.create(
            made.id, items=[{"type": "message", "role": "assistant", "content": "Bye"}]
        )
        [item] = added.data
        assert client.conversations.items.retrieve(item.id, conversation_id=made.id) == item
        assert client.conversations.items.delete(item.id, conversation_id=made.id).id == made.id
        with pytest.raises(openai.NotFoundError) as missing:
            client.conversations.items.retrieve(item.id, conversation_id=made.id)
        assert missing.value.code == "item_not_found"
        assert client.conversations.update(made.id, metadata={"topic": "new"}).metadata == {"topic": "new"}
        assert client.conversations.retrieve(made.id).metadata == {"topic": "new"}
        assert client.conversations.delete(made.id).deleted
        with pytest.raises(openai.NotFoundError):
            client.conversations.retrieve(made.id)

    @pytest.mark.parametrize("name", ["conv_1", "nonsense", "resp_" + 32 * "0", "conv_" + 32 * "0"])
    def test_there_is_no_conversation_of_another_name(self, client: OpenAI, name: str) -> None:
        with pytest.raises(openai.NotFoundError) as missing:
            client.conversations.retrieve(name)
        assert missing.value.code == "conversation_not_found"


class TestReferences:
    def test_resolves_the_ids_of_outputs_and_of_stored_items(
        self, client: OpenAI, other_services: OtherServices
    ) -> None:
        first = client.responses.create(model="triage", input=SECRET)
        [message] = first.output
        [item] = client.responses.input_items.list(first.id).data
        items: Any = [
            {"type": "item_reference", "id": item.id},
            {"type": "item_reference", "id": message.id},
            {"role": "user", "content": "And?"},
        ]
        second = client.responses.create(model="triage", input=items)
        assert other_services.messages(conversation_of(second))[:3] == [
            ("user", SECRET),
            ("assistant", first.output_text),
            ("user", "And?"),
        ]

    @pytest.mark.parametrize("id_", ["msg_" + 32 * "0" + "_0", "msg_1", "nonsense"])
    def test_names_a_reference_to_nothing(self, client: OpenAI, id_: str) -> None:
        items: Any = [{"type": "item_reference", "id": id_}, {"role": "user", "content": "And?"}]
        with pytest.raises(openai.NotFoundError) as missing:
            client.responses.create(model="triage", input=items)
        assert (missing.value.code, missing.value.param) == ("item_not_found", "input[0].id")
