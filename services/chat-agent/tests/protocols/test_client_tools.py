"""Tools that OpenAI's clients execute themselves."""

import json
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import httpx
import openai
import pytest
from chat_agent.main import create_app
from chat_agent.settings import Settings
from openai import OpenAI
from testkit.live_server import serving

from ..recorded_model import recording_model

WEATHER: Any = {
    "name": "get_weather",
    "description": "Return the weather of a city.",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
        "additionalProperties": False,
    },
    "strict": True,
}
STOCK: Any = {
    "name": "get_stock",
    "parameters": {"type": "object", "properties": {"sku": {"type": "string"}}},
}
TOOLS: Any = [{"type": "function", "function": one} for one in (WEATHER, STOCK)]
RESPONSE_TOOLS: Any = [{"type": "function", "strict": False, **one} for one in (WEATHER, STOCK)]
GRAMMAR: Any = {"type": "grammar", "syntax": "lark", "definition": "start: /.+/"}
QUERY: Any = {"type": "custom", "name": "query", "description": "Queries.", "format": GRAMMAR}
STOCK_TOOL: Any = {"type": "function", "strict": False, **STOCK}
DESCRIBED_TOOLS: Any = [
    QUERY,
    {"type": "custom", "name": "note", "format": GRAMMAR},
    {"type": "custom", "name": "say", "description": "", "format": {"type": "text"}},
    {"type": "custom", "name": "shout"},
    {"type": "namespace", "name": "north", "description": "Up there.", "tools": [QUERY, STOCK_TOOL]},
    {"type": "namespace", "name": "south", "description": "", "tools": [STOCK_TOOL]},
    STOCK_TOOL,
]
ASK: Any = [{"role": "user", "content": "How is it? [sandbox: call=get_weather]"}]
BOTH = "How is it? [sandbox: call=get_weather, call=get_stock]"
REVIEW = "Review this Python function [sandbox: call=get_weather]"


@pytest.fixture
def client(ann: httpx.Client) -> Iterator[OpenAI]:
    token = ann.headers["authorization"].removeprefix("Bearer ")
    with OpenAI(
        base_url=f"{str(ann.base_url).rstrip('/')}/v1", api_key=token, max_retries=0, timeout=60
    ) as client:
        yield client


def output_of(call: Any, output: str) -> Any:
    """Return the message that says what a call gave."""
    return {"role": "tool", "tool_call_id": call.id, "content": output}


def choose(name: str) -> Any:
    """Return the choice of a tool by its name."""
    return {"type": "function", "function": {"name": name}}


def model_input(client: OpenAI, name: str) -> list[str]:
    """Return what the model was told for a completion or a response, in short."""
    response = f"resp_{name.rpartition('-')[2].rpartition('_')[2]}"
    items = client.responses.input_items.list(response, order="asc", limit=100).data
    return [short(item.to_dict()) for item in items]


def short(item: Any) -> str:
    """Return who speaks, which tool is called, or that it is an output."""
    return item.get("role") or item.get("name") or "output"


class TestChatCompletions:
    def test_a_call_ends_the_completion_and_its_output_goes_on(self, client: OpenAI) -> None:
        first = client.chat.completions.create(model="triage", messages=ASK, tools=TOOLS)
        [choice] = first.choices
        [call] = choice.message.tool_calls
        assert (choice.finish_reason, call.function.name) == ("tool_calls", "get_weather")
        assert json.loads(call.function.arguments).keys() == {"city"}
        messages = [*ASK, choice.message, output_of(call, "Snow in Vienna")]
        second = client.chat.completions.create(model="triage", messages=messages, tools=TOOLS)
        assert second.choices[0].finish_reason == "stop"
        assert "Snow in Vienna" in second.choices[0].message.content

    def test_instructions_may_come_after_the_output(self, client: OpenAI) -> None:
        first = client.chat.completions.create(model="triage", messages=ASK, tools=TOOLS)
        message = first.choices[0].message
        note = {"role": "system", "content": "14 of 128000 tokens are used."}
        messages = [*ASK, message, output_of(message.tool_calls[0], "Snow in Vienna"), note]
        second = client.chat.completions.create(model="triage", messages=messages, tools=TOOLS)
        assert "Snow in Vienna" in second.choices[0].message.content

    def test_several_at_once_in_a_stream(self, client: OpenAI) -> None:
        messages: Any = [{"role": "user", "content": BOTH}]
        with client.chat.completions.stream(model="triage", messages=messages, tools=TOOLS) as stream:
            final = stream.get_final_completion().choices[0]
        assert final.finish_reason == "tool_calls"
        assert [call.function.name for call in final.message.tool_calls] == ["get_weather", "get_stock"]
        outputs = [
            output_of(call, f"{call.function.name} says {number}")
            for number, call in enumerate(final.message.tool_calls)
        ]
        answer = client.chat.completions.create(
            model="triage", messages=[*messages, final.message.to_dict(), *outputs], tools=TOOLS
        )
        for text in ("get_weather says 0", "get_stock says 1"):
            assert text in answer.choices[0].message.content

    def test_beside_a_tool_of_the_server(self, client: OpenAI) -> None:
        messages: Any = [{"role": "user", "content": "[sandbox: call=current_time, call=get_weather]"}]
        first = client.chat.completions.create(model="triage", messages=messages, tools=TOOLS)
        [call] = first.choices[0].message.tool_calls
        assert call.function.name == "get_weather"
        second = client.chat.completions.create(
            model="triage",
            messages=[*messages, first.choices[0].message, output_of(call, "Fog")],
            tools=TOOLS,
        )
        assert second.choices[0].message.content
        assert model_input(client, second.id) == ["user", "current_time", "output", "get_weather", "output"]

    def test_a_tool_of_the_server_is_called_once_in_a_turn(self, client: OpenAI) -> None:
        messages: Any = [{"role": "user", "content": "[sandbox: call=get_weather, call=current_time]"}]
        for choice, output in (("auto", "Fog"), (choose("get_stock"), "Sold"), ("auto", None)):
            completion = client.chat.completions.create(
                model="triage", messages=messages, tools=TOOLS, tool_choice=choice
            )
            message = completion.choices[0].message
            messages += [message, *(output_of(call, output) for call in message.tool_calls or [])]
        assert completion.choices[0].finish_reason == "stop"
        # In the order in which the client has them; what it was not told of is before its next call.
        assert model_input(client, completion.id) == [
            *("user", "get_weather", "output", "current_time", "output", "get_stock", "output")
        ]

    def test_in_a_conversation_that_remembers_the_call(self, client: OpenAI) -> None:
        start: Any = {"model": "triage", "tools": TOOLS, "messages": [{"role": "user", "content": REVIEW}]}
        first = client.chat.completions.create(**start, metadata={})
        named = {"conversation_id": first.metadata["conversation_id"]}
        [call] = first.choices[0].message.tool_calls
        second = client.chat.completions.create(
            model="triage", messages=[output_of(call, "Rain")], tools=TOOLS, metadata=named
        )
        # Whoever has called the tool goes on.
        assert "Rain" in second.choices[0].message.content
        third = client.chat.completions.create(
            model="triage", messages=[{"role": "user", "content": "Thanks"}], tools=TOOLS, metadata=named
        )
        assert third.choices[0].finish_reason == "stop"

    def test_who_never_answers_a_call_may_go_on_talking(self, client: OpenAI) -> None:
        first = client.chat.completions.create(model="triage", messages=ASK, tools=TOOLS, metadata={})
        named = {"conversation_id": first.metadata["conversation_id"]}
        second = client.chat.completions.create(
            model="triage", messages=[{"role": "user", "content": "Never mind"}], metadata=named
        )
        assert second.choices[0].finish_reason == "stop"

    @pytest.mark.parametrize(
        ("choice", "names"),
        [
            ("none", []),
            ("required", ["get_stock"]),
            (choose("get_stock"), ["get_stock"]),
        ],
    )
    def test_the_choice_of_a_tool_reaches_the_model(self, client: OpenAI, choice: Any, names: Any) -> None:
        completion: Any = client.chat.completions.create(
            model="triage", messages=[{"role": "user", "content": "sku=A7"}], tools=TOOLS, tool_choice=choice
        )
        calls = completion.choices[0].message.tool_calls or []
        assert [call.function.name for call in calls] == names

    def test_a_required_call_is_one_of_the_clients_also_after_the_servers(self, client: OpenAI) -> None:
        messages: Any = [{"role": "user", "content": "sku=A7 [sandbox: call=current_time]"}]
        completion = client.chat.completions.create(
            model="triage", messages=messages, tools=TOOLS, tool_choice="required"
        )
        [call] = completion.choices[0].message.tool_calls
        assert (call.function.name, json.loads(call.function.arguments)) == ("get_stock", {"sku": "A7"})

    def test_one_after_the_other(self, client: OpenAI) -> None:
        messages: Any = [{"role": "user", "content": BOTH}]
        one = client.chat.completions.create(
            model="triage", messages=messages, tools=TOOLS, parallel_tool_calls=False
        )
        assert len(one.choices[0].message.tool_calls) == 1

    def test_an_output_that_nobody_waits_for_is_refused(self, client: OpenAI) -> None:
        first = client.chat.completions.create(model="triage", messages=ASK, tools=TOOLS, metadata={})
        named = {"conversation_id": first.metadata["conversation_id"]}
        stray: Any = [{"role": "tool", "tool_call_id": "call_of_nobody", "content": "?"}]
        with pytest.raises(openai.NotFoundError) as refusal:
            client.chat.completions.create(model="triage", messages=stray, metadata=named)
        assert refusal.value.code == "tool_call_not_found"
        with pytest.raises(openai.NotFoundError) as refusal:
            client.chat.completions.create(model="triage", messages=[*ASK, *stray])
        assert refusal.value.code == "tool_call_not_found"

    def test_a_key_tells_outputs_from_others(self, client: OpenAI) -> None:
        first = client.chat.completions.create(model="triage", messages=ASK, tools=TOOLS)
        [call] = first.choices[0].message.tool_calls
        messages = [*ASK, first.choices[0].message]
        start: Any = {"model": "triage", "tools": TOOLS, "extra_headers": {"Idempotency-Key": str(uuid4())}}
        answers = [
            client.chat.completions.create(messages=[*messages, output_of(call, "Snow")], **start)
            for _ in range(2)
        ]
        assert answers[0].id == answers[1].id
        with pytest.raises(openai.APIStatusError) as refusal:
            client.chat.completions.create(messages=[*messages, output_of(call, "Sun")], **start)
        assert refusal.value.code == "idempotency_conflict"

    @pytest.mark.parametrize(
        ("tool", "param"),
        [
            ({"type": "web_search"}, "tools[0].type"),
            ({"type": "function"}, "tools[0]"),
            (
                {"type": "custom", "custom": {"name": "a", "format": {"type": "grammar"}}},
                "tools[0].custom.format",
            ),
            ({"type": "function", "function": {**WEATHER, "name": "current_time"}}, "tools[0]"),
            ({"type": "function", "function": {"name": "transfer_to_" + "n" * 45}}, "tools[0].name"),
            (
                {"type": "function", "function": {"name": "a", "parameters": {"type": "thing"}}},
                "tools[0].function.parameters",
            ),
        ],
    )
    def test_tools_that_cannot_be_called_are_refused(self, client: OpenAI, tool: Any, param: str) -> None:
        with pytest.raises(openai.BadRequestError) as refusal:
            client.chat.completions.create(model="triage", messages=ASK, tools=[tool])
        assert refusal.value.param == param

    def test_a_custom_tool_has_one_text(self, client: OpenAI) -> None:
        grammar = {"type": "grammar", "grammar": {"syntax": "regex", "definition": "SELECT .+"}}
        tool: Any = {"type": "custom", "custom": {"name": "query", "format": grammar}}
        ask: Any = [{"role": "user", "content": 'input="SELECT 1" [sandbox: call=query]'}]
        first = client.chat.completions.create(model="triage", messages=ask, tools=[tool])
        message = first.choices[0].message.to_dict()
        [call] = message["tool_calls"]
        assert call["type"] == "custom"
        assert call["custom"] == {"name": "query", "input": "SELECT 1"}
        output = {"role": "tool", "tool_call_id": call["id"], "content": "one row"}
        messages: Any = [*ask, message, output]
        second = client.chat.completions.create(model="triage", messages=messages, tools=[tool])
        assert "query says: one row" in (second.choices[0].message.content or "")

    def test_handoffs_of_the_client_are_its_tools(self, client: OpenAI) -> None:
        # As frameworks with several agents have them, such as ADK and LangGraph's swarm.
        tool: Any = {"type": "function", "function": {**WEATHER, "name": "transfer_to_agent"}}
        ask: Any = [{"role": "user", "content": "city=Bern"}]
        first = client.chat.completions.create(
            model="triage", messages=ask, tools=[tool], tool_choice=choose("transfer_to_agent")
        )
        [call] = first.choices[0].message.tool_calls
        assert (call.function.name, json.loads(call.function.arguments)) == (
            "transfer_to_agent",
            {"city": "Bern"},
        )
        messages: Any = [*ask, first.choices[0].message, output_of(call, "You are in Bern")]
        second = client.chat.completions.create(model="triage", messages=messages, tools=[tool])
        assert "You are in Bern" in second.choices[0].message.content
        assert second.to_dict()["acme"]["status"] == "completed"

    @pytest.mark.parametrize(
        "choice",
        [{"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": []}}, {"type": "web_search"}],
    )
    def test_a_choice_that_names_no_tool_is_refused(self, client: OpenAI, choice: Any) -> None:
        with pytest.raises(openai.BadRequestError) as refusal:
            client.chat.completions.create(model="triage", messages=ASK, tools=TOOLS, tool_choice=choice)
        assert (refusal.value.param, refusal.value.code) == ("tool_choice", "unsupported_parameter")
        assert choice["type"] in refusal.value.message

    def test_patterns_that_are_not_matched_here_are_the_clients_to_match(self, client: OpenAI) -> None:
        # As zod writes an e-mail address.
        email = {"type": "string", "pattern": "^(?!\\.)(?!.*\\.\\.)[a-z.]*[a-z]@[a-z]+$"}
        schema = {"type": "object", "properties": {"to": email}}
        tool: Any = {"type": "function", "function": {"name": "mail", "parameters": schema}}
        messages: Any = [{"role": "user", "content": "to=ann@x [sandbox: call=mail]"}]
        answer = client.chat.completions.create(model="triage", messages=messages, tools=[tool])
        [call] = answer.choices[0].message.tool_calls or []
        assert (call.type, answer.choices[0].finish_reason) == ("function", "tool_calls")

    def test_a_tool_that_is_chosen_exists(self, client: OpenAI) -> None:
        choice: Any = {"type": "function", "function": {"name": "nobody"}}
        with pytest.raises(openai.BadRequestError) as refusal:
            client.chat.completions.create(model="triage", messages=ASK, tools=TOOLS, tool_choice=choice)
        assert refusal.value.param == "tool_choice"


class TestResponses:
    def test_a_call_ends_the_response_and_its_output_goes_on(self, client: OpenAI) -> None:
        first = client.responses.create(model="triage", input=ASK, tools=RESPONSE_TOOLS)
        [call] = [item for item in first.output if item.type == "function_call"]
        assert (first.status, call.name) == ("completed", "get_weather")
        output: Any = [{"type": "function_call_output", "call_id": call.call_id, "output": "Snow in Vienna"}]
        second = client.responses.create(
            model="triage", input=output, tools=RESPONSE_TOOLS, previous_response_id=first.id
        )
        assert "Snow in Vienna" in second.output_text
        assert second.id != first.id
        assert [item.type for item in second.output] == ["message"]
        again = client.responses.retrieve(first.id)
        assert [item.type for item in again.output] == ["function_call"]
        assert again.tools[0].name == "get_weather"

    def test_a_stream_says_the_arguments(self, client: OpenAI) -> None:
        with client.responses.stream(model="triage", input=BOTH, tools=RESPONSE_TOOLS) as stream:
            events = [*stream]
        done = [event for event in events if event.type == "response.function_call_arguments.done"]
        assert len(done) == 2
        final = events[-1].response
        assert [item.arguments for item in final.output] == [event.arguments for event in done]

    def test_a_custom_tool_has_one_text(self, client: OpenAI) -> None:
        grammar = {"type": "grammar", "syntax": "lark", "definition": "start: /.+/"}
        tools: Any = [{"type": "custom", "name": "query", "description": "Queries.", "format": grammar}]
        ask = 'input="SELECT 1" [sandbox: call=query]'
        with client.responses.stream(model="triage", input=ask, tools=tools) as stream:
            events = [event.to_dict() for event in stream]
        [delta, done] = [one for one in events if "custom_tool_call_input" in str(one["type"])]
        assert (delta["delta"], done["input"]) == ("SELECT 1", "SELECT 1")
        first = client.responses.retrieve(events[-1]["response"]["id"])
        [call] = first.output
        assert call.type == "custom_tool_call"
        output: Any = {"type": "custom_tool_call_output", "call_id": call.call_id, "output": "one row"}
        stored = client.responses.create(
            model="triage", input=[output], tools=tools, previous_response_id=first.id
        )
        reference: Any = {"type": "item_reference", "id": call.id}
        sent = client.responses.create(
            model="triage", input=[{"role": "user", "content": ask}, reference, output], tools=tools
        )
        for second in (stored, sent):
            assert "query says: one row" in second.output_text
        [tool] = first.tools
        assert tool.to_dict().items() >= {"type": "custom", "name": "query", "format": grammar}.items()

    def test_a_tool_of_a_namespace_is_called_by_its_name_there(self, client: OpenAI) -> None:
        tools: Any = [
            {"type": "namespace", "name": name, "description": "", "tools": RESPONSE_TOOLS}
            for name in ("north", "south")
        ]
        first = client.responses.create(
            model="triage", input="How is it? [sandbox: call=south__get_weather]", tools=tools
        )
        [call] = first.output
        assert call.type == "function_call"
        assert (call.namespace, call.name) == ("south", "get_weather")
        output: Any = {"type": "function_call_output", "call_id": call.call_id, "output": "Fog"}
        input_: Any = [*ASK, call.to_dict(), output]
        second = client.responses.create(model="triage", input=input_, tools=tools)
        assert "south__get_weather says: Fog" in second.output_text

    def test_a_response_has_the_tools_as_they_were_sent_and_models_read_more(
        self, settings: Settings, client: OpenAI
    ) -> None:
        calls: list[Any] = []
        with (
            recording_model(calls) as model,
            serving(create_app(settings.model_copy(update={"openai_base_url": f"{model}/v1"}))) as url,
        ):
            other = client.with_options(base_url=f"{url}/v1")
            with other.responses.stream(model="triage", input="Hello", tools=DESCRIBED_TOOLS) as stream:
                received: list[Any] = [event.response for event in stream if hasattr(event, "response")]
            received.append(other.responses.retrieve(received[0].id))
            received.append(other.responses.create(model="triage", input="Hello", tools=DESCRIBED_TOOLS))
        assert [[tool.to_dict() for tool in one.tools] for one in received] == [DESCRIBED_TOOLS] * 5
        read = {tool["name"]: tool.get("description") or "" for tool in calls[0]["tools"]}
        rule = "`input` has to match this grammar (lark):\nstart: /.+/"
        assert (read["query"], read["north__query"]) == (f"Queries.\n{rule}", f"Up there.\nQueries.\n{rule}")
        assert (read["note"], read["north__get_stock"], read["get_stock"]) == (rule, "Up there.", "")

    @pytest.mark.parametrize(
        ("tools", "param"),
        [
            ([{"type": "namespace", "name": "n" * 60, "tools": RESPONSE_TOOLS}], "tools[0].tools[0].name"),
            (
                [{"type": "namespace", "name": "n", "tools": [{"type": "web_search"}]}],
                "tools[0].tools[0].type",
            ),
            ([{"type": "namespace", "name": "n"}], "tools[0]"),
            ([{"type": "custom"}], "tools[0]"),
            (
                [{"type": "custom", "name": "a", "format": {"type": "grammar", "syntax": "lark"}}],
                "tools[0].format",
            ),
            ([{"type": "local_shell"}], "tools[0].type"),
            (
                [
                    {"type": "namespace", "name": f"n{number}", "tools": RESPONSE_TOOLS}
                    for number in range(65)
                ],
                "tools",
            ),
        ],
    )
    def test_tools_that_cannot_be_called_are_refused(self, client: OpenAI, tools: Any, param: str) -> None:
        with pytest.raises(openai.BadRequestError) as refusal:
            client.responses.create(model="triage", input=ASK, tools=tools)
        assert refusal.value.param == param

    def test_an_output_of_other_parts_is_refused(self, client: OpenAI) -> None:
        output: Any = {"type": "function_call_output", "call_id": "call_1", "output": [{"type": "video"}]}
        with pytest.raises(openai.BadRequestError) as refusal:
            client.responses.create(model="triage", input=[output], tools=RESPONSE_TOOLS)
        assert refusal.value.param == "input[0].output[0]"

    def test_without_a_response_that_remembers(self, client: OpenAI) -> None:
        first = client.responses.create(model="triage", input=ASK, tools=RESPONSE_TOOLS)
        [call] = first.output
        input_: Any = [
            *ASK,
            {
                "type": "function_call",
                "call_id": call.call_id,
                "name": call.name,
                "arguments": call.arguments,
            },
            {
                "type": "function_call_output",
                "call_id": call.call_id,
                "output": [{"type": "input_text", "text": "Fog"}],
            },
        ]
        second = client.responses.create(model="triage", input=input_, tools=RESPONSE_TOOLS)
        assert "Fog" in second.output_text

    def test_a_tool_of_the_server_is_called_once_without_a_previous_response(self, client: OpenAI) -> None:
        ask: Any = [{"role": "user", "content": "[sandbox: call=current_time, call=get_weather]"}]
        first = client.responses.create(model="triage", input=ask, tools=RESPONSE_TOOLS)
        [call] = [item for item in first.output if item.type == "function_call"]
        output = {"type": "function_call_output", "call_id": call.call_id, "output": "Fog"}
        sent: Any = [*ask, *(item.to_dict() for item in first.output), output]
        second = client.responses.create(model="triage", input=sent, tools=RESPONSE_TOOLS)
        assert model_input(client, second.id) == ["user", "current_time", "output", "get_weather", "output"]

    def test_the_agent_that_called_goes_on(self, client: OpenAI) -> None:
        first = client.responses.create(model="code_assistant", input=ASK, tools=RESPONSE_TOOLS)
        [call] = first.output
        output: Any = [{"type": "function_call_output", "call_id": call.call_id, "output": "Rain"}]
        second = client.responses.create(
            model="triage", input=output, tools=RESPONSE_TOOLS, previous_response_id=first.id
        )
        assert second.to_dict()["acme"]["agent"] == "code_assistant"

    def test_approvals_and_calls_of_the_client_in_one_turn(self, client: OpenAI) -> None:
        first = client.responses.create(
            model="triage",
            input="[sandbox: call=forget_conversation, call=get_weather]",
            tools=RESPONSE_TOOLS,
        )
        [approval_request] = [item for item in first.output if item.type == "mcp_approval_request"]
        answer: Any = [
            {"type": "mcp_approval_response", "approval_request_id": approval_request.id, "approve": False}
        ]
        second = client.responses.create(
            model="triage", input=answer, tools=RESPONSE_TOOLS, previous_response_id=first.id
        )
        [call] = [item for item in second.output if item.type == "function_call"]
        output: Any = [{"type": "function_call_output", "call_id": call.call_id, "output": "Hail"}]
        third = client.responses.create(
            model="triage", input=output, tools=RESPONSE_TOOLS, previous_response_id=second.id
        )
        assert "Hail" in third.output_text

    def test_other_kinds_of_tools_are_named(self, client: OpenAI) -> None:
        with pytest.raises(openai.BadRequestError) as refusal:
            client.responses.create(model="triage", input="Hello", tools=[{"type": "web_search"}])
        assert (refusal.value.code, refusal.value.param) == ("unsupported_parameter", "tools[0].type")
