"""AG-UI's and the Vercel AI SDK's own clients, unmodified, in node."""

import json
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import httpx
import pytest

from ..test_nested_calls import paid  # noqa: F401  # fixture, with agents that call one another

BOTH = "What time is it, and can you review this Python function? def add(a, b): return a - b"
FORGET = "Forget it [sandbox: call=forget_conversation]"
FAILING = "Fail [sandbox: fail-after=5, tokens=20]"
THINKING = "Think about it [sandbox: reasoning]"
PAUSING = "Slowly [sandbox: tokens=60, pause-after=20]"
NESTED = "Please ask lead to ask worker to look place=there"
NESTED_APPROVAL = "Please ask lead to ask worker to pay amount=5"
AG_UI = "/api/v1/agents/triage/ag-ui"
AG_UI_BOSS = "/api/v1/agents/boss/ag-ui"
UI = "/api/v1/chat/ui"

Node = Callable[..., Any]


def texts(message: dict[str, Any], type: str = "text") -> list[str]:
    return [part["text"] for part in message["parts"] if part["type"] == type]


class TestAgUi:
    def test_tools_handoffs_and_text_arrive(self, node: Node, ann: httpx.Client, other_services) -> None:
        thread = str(uuid4())
        received = node("ag_ui.mjs", ann, AG_UI, threadId=thread, messages=[BOTH])
        assert received["errors"] == []
        assert [message["role"] for message in received["messages"]] == [
            "user",
            "assistant",
            "tool",
            "assistant",
        ]
        _, call, result, answer = received["messages"]
        assert call["toolCalls"][0]["function"]["name"] == "current_time"
        assert (result["toolCallId"], result["content"][:2]) == (call["toolCalls"][0]["id"], "20")
        assert other_services.messages(thread)[-1] == ("assistant", answer["content"])
        steps = [event["stepName"] for event in received["events"] if event["type"] == "STEP_STARTED"]
        assert steps == ["triage", "code_assistant"]
        assert received["state"]["theme"] == "dark"
        assert received["state"]["acme"]["agent"] == "code_assistant"

    def test_a_thread_goes_on(self, node: Node, ann: httpx.Client, other_services) -> None:
        received = node("ag_ui.mjs", ann, AG_UI, threadId="my thread", messages=["Hello", "And?"])
        (spoken_text,) = [other_services.messages(id) for id in other_services.items]
        assert [role for role, _ in spoken_text] == ["user", "assistant", "user", "assistant"]
        assert spoken_text == [(message["role"], message["content"]) for message in received["messages"]]

    def test_reasoning_is_separate_from_the_answer(self, node: Node, ann: httpx.Client) -> None:
        received = node("ag_ui.mjs", ann, AG_UI, threadId="thinking", messages=[THINKING])
        assert received["errors"] == []
        assert [message["role"] for message in received["messages"]] == ["user", "reasoning", "assistant"]
        assert received["messages"][1]["content"]

    def test_a_run_that_fails_says_so(self, node: Node, ann: httpx.Client) -> None:
        received = node("ag_ui.mjs", ann, AG_UI, threadId="failing", messages=[FAILING])
        last = received["events"][-1]
        assert (last["type"], last["code"]) == ("RUN_ERROR", "model_unavailable")

    @pytest.mark.parametrize("allow", [True, False])
    def test_goes_on_when_a_person_has_answered(self, node: Node, ann: httpx.Client, allow: bool) -> None:
        received = node("ag_ui.mjs", ann, AG_UI, threadId="asking", messages=[FORGET], allow=allow)
        assert received["errors"] == []
        ends = [event["outcome"]["type"] for event in received["events"] if event["type"] == "RUN_FINISHED"]
        assert ends == ["interrupt", "success"]
        assert [message["role"] for message in received["messages"]] == [
            "user",
            "assistant",
            "tool",
            "assistant",
        ]
        assert ("did not allow" in received["messages"][2]["content"]) is not allow

    def test_calls_of_inner_agents_are_custom_events(self, node: Node, ann: httpx.Client) -> None:
        received = node("ag_ui.mjs", ann, AG_UI_BOSS, threadId="nested", messages=[NESTED, "And?"])
        assert received["errors"] == []
        custom = [event for event in received["events"] if event["type"] == "CUSTOM"]
        called = [
            (one["value"]["agent"], one["value"]["name"]) for one in custom if one["name"] == "tool.called"
        ]
        assert called == [("lead", "ask_worker"), ("worker", "look")]
        calls = [call for message in received["messages"] for call in message.get("toolCalls", ())]
        assert {call["function"]["name"] for call in calls} == {"ask_lead", "look"}

    @pytest.mark.parametrize("allow", [True, False])
    def test_a_person_decides_on_what_an_inner_agent_calls(
        self,
        node: Node,
        ann: httpx.Client,
        paid: list[int],  # noqa: F811
        allow: bool,
    ) -> None:
        received = node("ag_ui.mjs", ann, AG_UI_BOSS, threadId="pay", messages=[NESTED_APPROVAL], allow=allow)
        assert received["errors"] == []
        assert paid == [5] * allow
        assert received["messages"][-1]["role"] == "assistant"


class TestUiMessages:
    def test_tools_handoffs_and_text_arrive(self, node: Node, ann: httpx.Client, other_services) -> None:
        chat = str(uuid4())
        received = node("ui_messages.mjs", ann, UI, chatId=chat, messages=[BOTH])
        assert received["errors"] == []
        _, message = received["shown"]
        types = [part["type"] for part in message["parts"]]
        assert types == ["step-start", "dynamic-tool", "step-start", "data-agent-changed", "text"]
        tool = message["parts"][1]
        assert (tool["toolName"], tool["state"]) == ("current_time", "output-available")
        assert tool["output"].startswith("20")
        assert [("assistant", text) for text in texts(message)] == other_services.messages(chat)[-1:]
        assert message["metadata"]["status"] == "completed"
        assert message["metadata"]["conversation_id"] == chat

    def test_a_chat_goes_on(self, node: Node, ann: httpx.Client, other_services) -> None:
        received = node("ui_messages.mjs", ann, UI, chatId="Xy12", messages=["Hello", "And?"])
        (spoken_text,) = [other_services.messages(id) for id in other_services.items]
        assert spoken_text == [(message["role"], texts(message)[0]) for message in received["shown"]]

    def test_reasoning_is_separate_from_the_answer(self, node: Node, ann: httpx.Client) -> None:
        received = node("ui_messages.mjs", ann, UI, chatId="thinking", messages=[THINKING])
        assert texts(received["shown"][1], "reasoning")
        assert texts(received["shown"][1])

    def test_a_run_that_fails_says_so(self, node: Node, ann: httpx.Client) -> None:
        received = node("ui_messages.mjs", ann, UI, chatId="failing", messages=[FAILING])
        assert received["errors"] == ["The model does not answer. Try again shortly."]
        assert received["shown"][1]["parts"][-1]["data"]["code"] == "model_unavailable"

    @pytest.mark.parametrize("allow", [True, False])
    def test_goes_on_when_a_person_has_answered(self, node: Node, ann: httpx.Client, allow: bool) -> None:
        received = node("ui_messages.mjs", ann, UI, chatId="asking", messages=[FORGET], allow=allow)
        assert received["errors"] == []
        assert [message["role"] for message in received["shown"]] == ["user", "assistant"]
        _, message = received["shown"]
        tool = next(part for part in message["parts"] if part["type"] == "dynamic-tool")
        assert tool["state"] == "output-available"
        assert ("did not allow" in tool["output"]) is not allow
        assert message["parts"][-1]["type"] == "text"

    def test_calls_of_inner_agents_are_data(self, node: Node, ann: httpx.Client) -> None:
        body = {"agent_type": "boss"}
        received = node("ui_messages.mjs", ann, UI, chatId="nested", messages=[NESTED], body=body)
        assert received["errors"] == []
        nested = [part for part in received["shown"][1]["parts"] if part["type"] == "data-nested-call"]
        seen = [(part["data"]["agent"], part["data"]["name"], part["data"]["status"]) for part in nested]
        assert seen == [("lead", "ask_worker", "completed"), ("worker", "look", "completed")]

    @pytest.mark.parametrize("allow", [True, False])
    def test_a_person_decides_on_what_an_inner_agent_calls(
        self,
        node: Node,
        ann: httpx.Client,
        paid: list[int],  # noqa: F811
        allow: bool,
    ) -> None:
        request = {"messages": [NESTED_APPROVAL], "allow": allow, "body": {"agent_type": "boss"}}
        received = node("ui_messages.mjs", ann, UI, chatId="pay", **request)
        assert received["errors"] == []
        _, message = received["shown"]
        outputs = [part for part in message["parts"] if part.get("toolName") == "pay"]
        assert [part["state"] for part in outputs] == ["output-available"]
        assert ("did not allow" in outputs[0]["output"]) is not allow
        assert (paid, message["parts"][-1]["type"]) == ([5] * allow, "text")

    def test_what_is_refused_is_an_error(self, node: Node, ann: httpx.Client) -> None:
        received = node("ui_messages.mjs", ann, UI, chatId="empty", messages=[" "])
        assert [json.loads(error)["code"] for error in received["errors"]] == ["user_message_missing"]

    @pytest.mark.parametrize("chat", ["a name", "c0000000-0000-4000-8000-000000000001"])
    def test_a_live_run_is_resumed(
        self, node: Node, ann: httpx.Client, other_services, model_url: str, chat: str
    ) -> None:
        message = {"id": "1", "role": "user", "parts": [{"type": "text", "text": PAUSING}]}
        with ann.stream("POST", UI, json={"id": chat, "messages": [message]}) as answer:
            next(answer.iter_lines())
            # The model goes on when the client has the stream.
            resumed = f"{model_url}/_sandbox/resume"
            received = node("ui_messages.mjs", ann, UI, chatId=chat, resume=True, resumed=resumed)
        (spoken_text,) = [other_services.messages(id) for id in other_services.items]
        assert [("assistant", text) for text in texts(received["shown"][0])] == spoken_text[-1:]

    def test_nothing_is_resumed_when_nothing_is_answered(self, node: Node, ann: httpx.Client) -> None:
        assert node("ui_messages.mjs", ann, UI, chatId="quiet", resume=True) == {"shown": [], "errors": []}
