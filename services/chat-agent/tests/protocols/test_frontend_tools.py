"""Tools that frontends execute themselves: in AG-UI, and in UI messages of the AI SDK."""

import json
from typing import Any

import httpx
import pytest

from .frontends import NAMES, PARAMETERS, TOOLS, AgUiFrontend, UiFrontend

ONE = "How is it? [sandbox: call=get_weather]"
BOTH = "How is it? [sandbox: call=get_weather, call=get_stock]"
MIXED = "How is it? [sandbox: call=current_time, call=get_weather]"
WITH_APPROVAL = "[sandbox: call=forget_conversation, call=get_weather]"


class TestAgUi:
    def test_a_call_ends_the_run_and_its_output_goes_on(self, ann: httpx.Client) -> None:
        frontend = AgUiFrontend(ann)
        [call] = frontend.ask(ONE)
        assert call["function"]["name"] == "get_weather"
        assert json.loads(call["function"]["arguments"]).keys() == {"city"}
        assert frontend.events[-1]["outcome"] == {"type": "success"}
        frontend.answer(call, "Snow in Vienna")
        assert frontend.ask() == []
        assert "Snow in Vienna" in frontend.text
        assert frontend.ask("Thanks") == []

    def test_several_at_once(self, ann: httpx.Client) -> None:
        frontend = AgUiFrontend(ann)
        calls = frontend.ask(BOTH)
        assert [call["function"]["name"] for call in calls] == [*NAMES]
        for number, call in enumerate(calls):
            frontend.answer(call, f"It says {number}")
        assert frontend.ask() == []
        assert "It says 0" in frontend.text
        assert "It says 1" in frontend.text

    def test_one_after_the_other(self, ann: httpx.Client, other_services: Any) -> None:
        frontend = AgUiFrontend(ann)
        for output in ("Snow", "Sun"):
            [call] = frontend.ask(ONE)
            frontend.answer(call, output)
            assert frontend.ask() == []
        outputs = [item["data"].get("output") for item in other_services.items[frontend.thread]]
        assert [one for one in outputs if one] == ["Snow", "Sun"]

    def test_beside_a_tool_of_the_server(self, ann: httpx.Client) -> None:
        frontend = AgUiFrontend(ann)
        [call] = frontend.ask(MIXED)
        assert call["function"]["name"] == "get_weather"
        frontend.answer(call, "Fog")
        assert frontend.ask() == []
        assert "Fog" in frontend.text

    def test_after_an_approval(self, ann: httpx.Client) -> None:
        frontend = AgUiFrontend(ann)
        frontend.ask(WITH_APPROVAL)
        [interrupt] = frontend.events[-1]["outcome"]["interrupts"]
        decision = {"status": "resolved", "payload": {"approved": False}}
        calls = frontend.ask(resume=[{"interruptId": interrupt["id"], **decision}])
        [call] = [one for one in calls if one["function"]["name"] == "get_weather"]
        frontend.answer(call, "Hail")
        frontend.ask()
        assert "Hail" in frontend.text

    def test_the_agent_that_called_goes_on(self, ann: httpx.Client) -> None:
        frontend = AgUiFrontend(ann, "code_assistant")
        [call] = frontend.ask(ONE)
        frontend.answer(call, "Rain")
        frontend.path = "/api/v1/agents/triage/ag-ui"
        frontend.ask()
        assert frontend.events[-1]["result"]["agent"] == "code_assistant"


class TestUiMessages:
    @pytest.mark.parametrize(
        "tools",
        [
            TOOLS,
            {name: {"description": "Return it.", "parameters": PARAMETERS} for name in NAMES},
            [{"name": name, "inputSchema": PARAMETERS} for name in NAMES],
        ],
    )
    def test_a_call_ends_the_run_and_its_output_goes_on(self, ann: httpx.Client, tools: Any) -> None:
        frontend = UiFrontend(ann, tools)
        [call] = frontend.ask(ONE)
        assert (call["type"], [*call["input"]]) == ("tool-get_weather", ["city"])
        tool_parts = [part for part in frontend.parts if part.get("toolCallId") == call["toolCallId"]]
        assert [part["type"] for part in tool_parts] == [
            "tool-input-start",
            "tool-input-delta",
            "tool-input-available",
        ]
        assert json.loads(tool_parts[1]["inputTextDelta"]) == call["input"]
        assert frontend.parts[-1]["finishReason"] == "tool-calls"
        call |= {"state": "output-available", "output": {"weather": "Snow in Vienna"}}
        assert frontend.ask() == []
        assert "Snow in Vienna" in frontend.text
        # It is one message, from the call to what came of it.
        assert [message["role"] for message in frontend.messages] == ["user", "assistant"]
        assert frontend.ask("Thanks") == []

    def test_several_at_once_one_of_which_fails(self, ann: httpx.Client) -> None:
        frontend = UiFrontend(ann)
        weather, stock = frontend.ask(BOTH)
        weather |= {"state": "output-available", "output": "Sun"}
        stock |= {"state": "output-error", "errorText": "The warehouse is closed"}
        assert frontend.ask() == []
        assert "Sun" in frontend.text
        assert "The warehouse is closed" in frontend.text

    def test_beside_a_tool_of_the_server(self, ann: httpx.Client) -> None:
        frontend = UiFrontend(ann)
        [call] = frontend.ask(MIXED)
        assert call["toolName"] == "get_weather"
        call |= {"state": "output-available", "output": "Fog"}
        assert frontend.ask() == []
        assert "Fog" in frontend.text


@pytest.mark.parametrize(
    ("tools", "param"),
    [
        ([{"name": "current_time", "parameters": PARAMETERS}], "tools[0]"),
        ([TOOLS[0], TOOLS[0]], "tools[1]"),
        ([{"name": "a", "parameters": {"type": "thing"}}], "tools[0].parameters"),
    ],
)
def test_tools_that_cannot_be_called_are_refused(ann: httpx.Client, tools: Any, param: str) -> None:
    message = {"id": "1", "role": "user", "content": "Hello"}
    thread = {"threadId": "t", "runId": "r", "messages": [message], "tools": tools, "context": []}
    chat = {"id": "t", "messages": [{**message, "parts": [{"type": "text", "text": "Hi"}]}], "tools": tools}
    for path, body in (("/api/v1/agents/triage/ag-ui", thread), ("/api/v1/chat/ui", chat)):
        refusal = ann.post(path, json=body)
        assert (refusal.status_code, refusal.json()["code"]) == (400, "invalid_parameter")
        assert refusal.json()["param"] == param
    named = {"name": "no name!", "parameters": PARAMETERS}
    for path, body in (("/api/v1/agents/triage/ag-ui", thread), ("/api/v1/chat/ui", chat)):
        assert ann.post(path, json={**body, "tools": [named]}).status_code == 422
