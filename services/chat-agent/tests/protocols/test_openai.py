"""The OpenAI surface, spoken to by OpenAI's own client."""

from typing import Any
from uuid import uuid4

import httpx
import openai
import pytest
from chat_agent.main import create_app
from openai import OpenAI
from testkit.eventually import until
from testkit.live_server import serving

BOTH = "What time is it, and can you review this Python function? def add(a, b): return a - b"
ENDLESS = "Tell me a long story [sandbox: tokens=60, stall-after=30]"
FORGET = "Forget it [sandbox: call=forget_conversation]"
LONG = "Tell me something [sandbox: tokens=50]"
HELLO = [{"role": "user", "content": "Hello"}]


def test_models_are_agents(client: OpenAI) -> None:
    assert {model.id for model in client.models.list()} >= {"triage", "code_assistant", "data_analyst"}
    assert client.models.retrieve("triage").object == "model"
    with pytest.raises(openai.NotFoundError) as refused:
        client.models.retrieve("gpt-nobody")
    assert refused.value.code == "agent_not_found"


class TestChatCompletions:
    def test_answers_whole(self, client: OpenAI) -> None:
        whole = client.chat.completions.create(model="triage", messages=HELLO, temperature=0.3, user="x")
        (choice,) = whole.choices
        assert (whole.object, whole.model, whole.id[:9]) == ("chat.completion", "triage", "chatcmpl-")
        assert "Hello" in choice.message.content
        assert (choice.finish_reason, choice.message.tool_calls) == ("stop", None)
        assert whole.usage.total_tokens == whole.usage.prompt_tokens + whole.usage.completion_tokens > 0

    def test_answers_in_chunks(self, client: OpenAI) -> None:
        chunks = [*client.chat.completions.create(model="triage", messages=HELLO, stream=True)]
        assert chunks[0].choices[0].delta.role == "assistant"
        assert chunks[-1].choices[0].finish_reason == "stop"
        assert len({chunk.id for chunk in chunks}) == 1
        assert all(chunk.usage is None for chunk in chunks)

    def test_says_the_same_whole_and_in_chunks(self, client: OpenAI) -> None:
        request: dict[str, Any] = {"model": "triage", "messages": [{"role": "user", "content": LONG}]}
        request["extra_headers"] = {"Idempotency-Key": str(uuid4())}
        with client.chat.completions.stream(**request, stream_options={"include_usage": True}) as stream:
            received = "".join(event.delta for event in stream if event.type == "content.delta")
            final = stream.get_final_completion()
        whole = client.chat.completions.create(**request)
        assert received == final.choices[0].message.content == whole.choices[0].message.content
        assert final.usage == whole.usage

    def test_sends_usage_in_a_last_chunk_on_request(self, client: OpenAI) -> None:
        request: dict[str, Any] = {"model": "triage", "messages": HELLO, "stream": True}
        chunks = [*client.chat.completions.create(**request, stream_options={"include_usage": True})]
        assert chunks[-1].choices == []
        assert chunks[-1].usage.completion_tokens > 0

    def test_shows_tools_and_handoffs_beside_the_choice(self, client: OpenAI) -> None:
        messages: Any = [{"role": "user", "content": BOTH}]
        chunks = [*client.chat.completions.create(model="triage", messages=messages, stream=True)]
        asides = [chunk.acme["type"] for chunk in chunks if hasattr(chunk, "acme")]
        assert sorted(asides) == ["agent.changed", "tool.called", "tool.output"]
        assert not any(choice.delta.tool_calls for chunk in chunks for choice in chunk.choices)

    def test_tells_reasoning_apart(self, client: OpenAI) -> None:
        messages: Any = [{"role": "user", "content": "Think about it [sandbox: reasoning]"}]
        whole = client.chat.completions.create(model="triage", messages=messages)
        assert whole.choices[0].message.reasoning_content
        messages = [{"role": "user", "content": "What time is it? [sandbox: reasoning]"}]
        twice = client.chat.completions.create(model="triage", messages=messages)
        first, second = twice.choices[0].message.reasoning_content.split("\n\n")
        assert first == second
        assert whole.usage.completion_tokens_details.reasoning_tokens > 0

    def test_earlier_messages_open_the_conversation(self, client: OpenAI, other_services) -> None:
        before = [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": [{"type": "text", "text": "My name is Zoe."}]},
            {"role": "assistant", "content": "Hello Zoe."},
        ]
        answer = client.chat.completions.with_raw_response.create(model="triage", messages=[*before, *HELLO])
        texts = other_services.messages(answer.headers["acme-conversation-id"])
        assert texts[:4] == [
            ("system", "Be brief."),
            ("user", "My name is Zoe."),
            ("assistant", "Hello Zoe."),
            ("user", "Hello"),
        ]
        assert texts[4] == ("assistant", answer.parse().choices[0].message.content)

    def test_instructions_may_come_last(self, client: OpenAI, other_services) -> None:
        note: Any = {"role": "system", "content": "14 of 128000 tokens are used."}
        answer = client.chat.completions.with_raw_response.create(model="triage", messages=[*HELLO, note])
        conversation_id = answer.headers["acme-conversation-id"]
        assert other_services.messages(conversation_id)[:2] == [
            ("system", note["content"]),
            ("user", "Hello"),
        ]
        follow_up = [
            *HELLO,
            {"role": "assistant", "content": "Hi"},
            {"role": "user", "content": "And?"},
            note,
        ]
        metadata = {"conversation_id": conversation_id}
        client.chat.completions.create(model="triage", messages=follow_up, metadata=metadata)
        assert [role for role, _ in other_services.messages(conversation_id)[2:]] == [
            "assistant",
            "user",
            "assistant",
        ]

    def test_goes_on_with_a_conversation(self, client: OpenAI, other_services) -> None:
        first = client.chat.completions.create(model="triage", messages=HELLO, metadata={"mine": "1"})
        conversation = {"conversation_id": first.metadata["conversation_id"]}
        messages: Any = [*HELLO, {"role": "assistant", "content": "Hi"}, {"role": "user", "content": "And?"}]
        second = client.chat.completions.create(model="triage", messages=messages, metadata=conversation)
        texts = other_services.messages(conversation["conversation_id"])
        assert first.metadata["mine"] == "1"
        assert [role for role, _ in texts] == ["user", "assistant", "user", "assistant"]
        assert texts[3][1] == second.choices[0].message.content

    @pytest.mark.parametrize(
        ("param", "value"),
        [
            ("functions", [{"name": "mine"}]),
            ("modalities", ["text", "audio"]),
        ],
    )
    def test_refuses_what_it_cannot_honour(self, client: OpenAI, param: str, value: Any) -> None:
        with pytest.raises(openai.BadRequestError) as refused:
            client.chat.completions.create(model="triage", messages=HELLO, **{param: value})
        assert (refused.value.code, refused.value.param) == ("unsupported_parameter", param)

    def test_takes_such_parameters_when_they_are_not_set(self, client: OpenAI) -> None:
        neutral: dict[str, Any] = {"n": 1, "logprobs": False, "tools": [], "stop": None, "store": False}
        assert client.chat.completions.create(model="triage", messages=HELLO, **neutral).choices


class TestErrors:
    def test_unknown_model(self, client: OpenAI) -> None:
        with pytest.raises(openai.NotFoundError) as refused:
            client.chat.completions.create(model="gpt-nobody", messages=HELLO)
        assert (refused.value.code, refused.value.type) == ("agent_not_found", "invalid_request_error")

    def test_bad_token(self, url: str) -> None:
        with (
            OpenAI(base_url=f"{url}/v1", api_key="sk-nobody", max_retries=0) as nobody,
            pytest.raises(openai.AuthenticationError) as refused,
        ):
            nobody.models.list()
        assert refused.value.type == "authentication_error"

    def test_bodies_that_do_not_fit(self, client: OpenAI) -> None:
        for messages, param in (([{"role": "king", "content": "x"}], "messages[0].role"), ([], "messages")):
            with pytest.raises(openai.BadRequestError) as refused:
                client.chat.completions.create(model="triage", messages=messages)
            assert (refused.value.code, refused.value.param) == ("invalid_request", param)

    def test_nothing_to_answer(self, client: OpenAI) -> None:
        messages: Any = [{"role": "assistant", "content": "x"}]
        with pytest.raises(openai.BadRequestError) as refused:
            client.chat.completions.create(model="triage", messages=messages)
        assert refused.value.code == "user_message_missing"

    @pytest.mark.parametrize("more", [[], [{"role": "system", "content": "Be brief."}]])
    def test_an_answer_that_was_stopped_is_continued(self, client: OpenAI, more: list[Any]) -> None:
        messages: Any = [*HELLO, {"role": "assistant", "content": "Good d"}, *more]
        whole = client.chat.completions.create(model="triage", messages=messages)
        assert 'wrote: "Continue your last message exactly where it ends.' in whole.choices[0].message.content
        response = client.responses.create(model="triage", input=messages, store=False)
        assert 'wrote: "Continue your last message exactly where it ends.' in response.output_text

    def test_a_history_that_ends_in_an_empty_answer_is_answered(self, client: OpenAI) -> None:
        messages: Any = [*HELLO, {"role": "assistant", "content": ""}]
        whole = client.chat.completions.create(model="triage", messages=messages)
        assert 'You wrote: "Hello"' in whole.choices[0].message.content

    def test_an_answer_in_a_named_conversation_is_not_continued(self, client: OpenAI) -> None:
        messages: Any = [*HELLO, {"role": "assistant", "content": "Good d"}]
        metadata = {"conversation_id": str(uuid4())}
        with pytest.raises(openai.BadRequestError) as refused:
            client.chat.completions.create(model="triage", messages=messages, metadata=metadata)
        assert refused.value.code == "user_message_missing"

    def test_pictures(self, client: OpenAI) -> None:
        picture = {"type": "image_url", "image_url": {"url": "https://example.com/x.png"}}
        with pytest.raises(openai.BadRequestError) as refused:
            client.chat.completions.create(model="triage", messages=[{"role": "user", "content": [picture]}])
        assert refused.value.param == "messages[0].content"

    def test_unknown_paths(self, ann: httpx.Client) -> None:
        answer = ann.get("/v1/assistants")
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")
        assert answer.headers["content-type"] == "application/json"

    def test_too_often(self, ann: httpx.Client, openai_of, settings) -> None:
        # One a minute: however slow the machine is, the next is not allowed yet.
        with serving(create_app(settings.model_copy(update={"chat_rate_limit_per_minute": 1}))) as url:
            ann.base_url = url
            client = openai_of(ann)
            with pytest.raises(openai.NotFoundError):
                client.chat.completions.create(model="gpt-nobody", messages=HELLO)
            with pytest.raises(openai.RateLimitError) as refused:
                client.chat.completions.create(model="triage", messages=HELLO)
        assert refused.value.code == "rate_limited"
        assert int(refused.value.response.headers["retry-after"]) >= 1

    def test_a_run_that_fails(self, client: OpenAI) -> None:
        messages: Any = [{"role": "user", "content": "Fail [sandbox: error=400]"}]
        with pytest.raises(openai.InternalServerError) as refused:
            client.chat.completions.create(model="triage", messages=messages)
        assert refused.value.code == "model_refused_request"

    def test_a_stream_that_breaks_off(self, client: OpenAI) -> None:
        messages: Any = [{"role": "user", "content": "Fail [sandbox: fail-after=5, tokens=20]"}]
        with pytest.raises(openai.APIError) as refused:
            list(client.chat.completions.create(model="triage", messages=messages, stream=True))
        assert refused.value.code == "model_unavailable"


class TestResponses:
    def test_answers_whole(self, client: OpenAI) -> None:
        whole = client.responses.create(model="triage", input="Hello", metadata={"mine": "1"})
        assert (whole.status, whole.model, whole.metadata) == ("completed", "triage", {"mine": "1"})
        assert "Hello" in whole.output_text
        assert whole.usage.total_tokens > 0

    def test_answers_in_events(self, client: OpenAI) -> None:
        received = [*client.responses.create(model="triage", input=BOTH, stream=True)]
        assert [event.sequence_number for event in received] == list(range(len(received)))
        assert (received[0].type, received[-1].type) == ("response.created", "response.completed")
        final = received[-1].response
        assert [item.type for item in final.output] == ["mcp_call", "message"]
        call, message = final.output
        assert (call.name, call.status, call.output[:2]) == ("current_time", "completed", "20")
        deltas = [event.delta for event in received if event.type == "response.output_text.delta"]
        assert "".join(deltas) == message.content[0].text == final.output_text

    def test_the_stream_helper_follows(self, client: OpenAI) -> None:
        thinking = "Think about it [sandbox: reasoning]"
        with client.responses.stream(model="triage", input=thinking) as stream:
            received = "".join(event.delta for event in stream if event.type == "response.output_text.delta")
            final = stream.get_final_response()
        assert received == final.output_text
        assert [item.type for item in final.output] == ["reasoning", "message"]
        assert final.output[0].summary[0].text

    def test_goes_on_after_an_earlier_response(self, client: OpenAI, other_services) -> None:
        first = client.responses.create(model="triage", input="Hello", instructions="Be brief.")
        second = client.responses.create(model="triage", input="And?", previous_response_id=first.id)
        third = client.responses.create(model="triage", input="So?", conversation=first.conversation.id)
        assert first.conversation == second.conversation == third.conversation
        assert second.previous_response_id == first.id
        (texts,) = [other_services.messages(id) for id in other_services.items]
        roles = ["developer", "user", "assistant", "user", "assistant", "user", "assistant"]
        assert [role for role, _ in texts] == roles

    def test_takes_an_earlier_output_as_input(self, client: OpenAI) -> None:
        first = client.responses.create(model="triage", input=BOTH)
        texts: Any = [{"role": "user", "content": BOTH}]
        items = [*texts, *(item.to_dict() for item in first.output), {"role": "user", "content": "Thanks"}]
        assert client.responses.create(model="triage", input=items).status == "completed"

    def test_does_not_go_on_with_what_is_anothers(self, client: OpenAI, openai_of, person) -> None:
        first = client.responses.create(model="triage", input="Hello")
        other = openai_of(person())
        for name in (first.id, f"resp_{uuid4().hex}", "resp_x"):
            with pytest.raises(openai.NotFoundError) as refused:
                other.responses.create(model="triage", input="And?", previous_response_id=name)
            assert refused.value.code == "run_not_found"
        with pytest.raises(openai.NotFoundError):
            other.responses.create(model="triage", input="And?", conversation=first.conversation.id)
        with pytest.raises(openai.NotFoundError):
            other.responses.retrieve(first.id)

    def test_can_be_read_again(self, client: OpenAI) -> None:
        first = client.responses.create(model="triage", input=BOTH)
        again = client.responses.retrieve(first.id)
        assert again.output == first.output
        assert (again.status, again.usage) == (first.status, first.usage)

    def test_can_be_streamed_again_from_any_event(self, client: OpenAI) -> None:
        received = [*client.responses.create(model="triage", input=BOTH, stream=True)]
        for after in (0, 3, len(received) - 2):
            again = client.responses.retrieve(received[0].response.id, stream=True, starting_after=after)
            assert [event.sequence_number for event in again] == list(range(after + 1, len(received)))

    def test_goes_on_in_the_background(self, client: OpenAI, resume_model) -> None:
        pausing = "Slowly [sandbox: tokens=20, pause-after=10]"
        started = client.responses.create(model="triage", input=pausing, background=True)
        assert (started.status, started.background) == ("in_progress", True)
        resume_model()
        received = [*client.responses.retrieve(started.id, stream=True)]
        assert received[-1].response.status == client.responses.retrieve(started.id).status == "completed"

    def test_a_run_that_fails(self, client: OpenAI) -> None:
        with pytest.raises(openai.InternalServerError) as refused:
            client.responses.create(model="triage", input="Fail [sandbox: error=400]")
        assert refused.value.code == "model_refused_request"

    def test_a_stream_that_breaks_off(self, client: OpenAI) -> None:
        received = []
        failing = "Fail [sandbox: fail-after=5, tokens=20]"
        with pytest.raises(openai.APIError) as refused:
            received.extend(client.responses.create(model="triage", input=failing, stream=True))
        assert refused.value.code == "model_unavailable"

    @pytest.mark.parametrize(
        ("param", "value"),
        [
            ("tools", [{"type": "web_search"}]),
        ],
    )
    def test_refuses_what_it_cannot_honour(self, client: OpenAI, param: str, value: Any) -> None:
        with pytest.raises(openai.BadRequestError) as refused:
            client.responses.create(**{"model": "triage", "input": "Hello", param: value})
        assert refused.value.code == "unsupported_parameter"
        assert refused.value.param.startswith(param)


def requests_of(response: Any) -> list[Any]:
    """Return what a response asks a person to allow."""
    return [item for item in response.output if item.type == "mcp_approval_request"]


def answers_to(response: Any, *, approve: bool) -> list[Any]:
    """Answer all that a response asks for."""
    return [
        {"type": "mcp_approval_response", "approval_request_id": one.id, "approve": approve}
        for one in requests_of(response)
    ]


class TestApprovals:
    def test_a_response_goes_on_when_it_is_allowed(self, client: OpenAI) -> None:
        first = client.responses.create(input=FORGET)
        (request,) = requests_of(first)
        assert (first.status, request.name) == ("completed", "forget_conversation")
        second = client.responses.create(input=answers_to(first, approve=True), previous_response_id=first.id)
        assert (second.id, second.status, second.previous_response_id) == (first.id, "completed", None)
        call, _, message = second.output
        assert (call.type, call.status, call.approval_request_id) == ("mcp_call", "completed", request.id)
        assert "no conversation" in call.output
        assert message.content[0].text in second.output_text
        assert client.responses.retrieve(first.id).output == second.output

    def test_it_goes_on_as_a_stream(self, client: OpenAI) -> None:
        with client.responses.stream(model="triage", input=FORGET) as stream:
            before = [*stream]
            first = stream.get_final_response()
        approvals = answers_to(first, approve=True)
        with client.responses.stream(
            model="triage", input=approvals, previous_response_id=first.id
        ) as stream:
            after = [*stream]
            second = stream.get_final_response()
        assert (after[0].type, after[-1].type) == ("response.created", "response.completed")
        numbers = [event.sequence_number for event in (*before, *after)]
        assert numbers == list(range(len(numbers)))
        assert [item.type for item in second.output] == ["mcp_call", "mcp_approval_request", "message"]
        *_, last = client.responses.retrieve(first.id, stream=True)
        assert last.response.output_text == second.output_text
        again = client.responses.retrieve(first.id, stream=True, starting_after=before[-1].sequence_number)
        assert [event.sequence_number for event in again] == [event.sequence_number for event in after]

    def test_the_agent_hears_that_it_may_not(self, client: OpenAI) -> None:
        first = client.responses.create(input=FORGET)
        approvals = [{**one, "reason": "It is dear to me."} for one in answers_to(first, approve=False)]
        second = client.responses.create(input=approvals, previous_response_id=first.id)
        assert second.output[0].output == "The person did not allow this. It is dear to me."

    def test_what_was_answered_cannot_be_answered_again(self, client: OpenAI) -> None:
        first = client.responses.create(input=FORGET)
        approvals = answers_to(first, approve=False)
        client.responses.create(input=approvals, previous_response_id=first.id)
        with pytest.raises(openai.ConflictError) as refused:
            client.responses.create(input=approvals, previous_response_id=first.id)
        assert refused.value.code == "approval_answered"

    def test_an_answer_needs_what_it_answers(self, client: OpenAI) -> None:
        approvals: Any = [
            {"type": "mcp_approval_response", "approval_request_id": str(uuid4()), "approve": True}
        ]
        with pytest.raises(openai.BadRequestError) as refused:
            client.responses.create(input=approvals)
        assert refused.value.param == "previous_response_id"
        first = client.responses.create(input="Hello")
        with pytest.raises(openai.NotFoundError) as unknown:
            client.responses.create(input=approvals, previous_response_id=first.id)
        assert unknown.value.code == "approval_not_found"
        for more in ({"role": "user", "content": "And?"}, {"type": "mcp_approval_response"}):
            with pytest.raises(openai.BadRequestError):
                client.responses.create(input=[*approvals, more], previous_response_id=first.id)

    def test_a_completion_tells_what_it_waits_for(self, client: OpenAI) -> None:
        messages: Any = [{"role": "user", "content": FORGET}]
        whole: Any = client.chat.completions.create(model="triage", messages=messages)
        assert (whole.choices[0].finish_reason, whole.acme["status"]) == ("stop", "waiting")
        (approval,) = whole.acme["approvals"]
        assert approval["name"] == "forget_conversation"
        notice = f"`forget_conversation` is called only when a person approves it (run {approval['run_id']})."
        assert whole.choices[0].message.content == notice
        chunks = client.chat.completions.create(model="triage", messages=messages, stream=True)
        text = "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)
        assert "`forget_conversation` is called only when a person approves it" in text


class TestCancelling:
    def test_a_response_in_the_background_is_cancelled(self, client: OpenAI) -> None:
        started = client.responses.create(input=ENDLESS, background=True)
        stream = client.responses.retrieve(started.id, stream=True)
        next(event for event in stream if event.type == "response.output_text.delta")
        cancelled = client.responses.cancel(started.id)
        last = [*stream][-1]
        assert (cancelled.status, last.type) == ("cancelled", "response.incomplete")
        assert cancelled.output == last.response.output == client.responses.retrieve(started.id).output
        assert cancelled.output[0].status == "incomplete"
        assert cancelled.output_text
        assert cancelled.usage.output_tokens > 0
        assert client.responses.cancel(started.id) == cancelled

    def test_one_that_waits_for_a_person_is_cancelled(self, client: OpenAI) -> None:
        first = client.responses.create(input=FORGET)
        assert client.responses.cancel(first.id).status == "cancelled"
        until(lambda: client.responses.retrieve(first.id).status == "cancelled")

    def test_what_is_over_or_anothers_is_not_cancelled(self, client: OpenAI, openai_of, person) -> None:
        first = client.responses.create(input="Hello")
        with pytest.raises(openai.ConflictError) as over:
            client.responses.cancel(first.id)
        assert over.value.code == "run_already_finished"
        with pytest.raises(openai.NotFoundError):
            openai_of(person()).responses.cancel(first.id)
