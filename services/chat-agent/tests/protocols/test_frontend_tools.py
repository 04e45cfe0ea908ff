"""Tools that frontends execute themselves: in AG-UI, and in UI messages of the AI SDK."""

import json
from typing import Any
from uuid import uuid4

import httpx
import pytest

PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
NAMES = ("get_weather", "get_stock")
TOOLS: Any = [{"name": name, "description": "Return it.", "parameters": PARAMETERS} for name in NAMES]
ONE = "How is it? [sandbox: call=get_weather]"
BOTH = "How is it? [sandbox: call=get_weather, call=get_stock]"
MIXED = "How is it? [sandbox: call=current_time, call=get_weather]"
WITH_APPROVAL = "[sandbox: call=forget_conversation, call=get_weather]"
Json = dict[str, Any]


class AgUiFrontend:
    """A frontend that speaks AG-UI, as far as these tests need one."""

    def __init__(self, client: httpx.Client, agent: str = "triage") -> None:
        self.client, self.path = client, f"/api/v1/agents/{agent}/ag-ui"
        self.thread, self.messages = str(uuid4()), list[Json]()
        self.events = list[Json]()

    def ask(self, text: str | None = None, **more: Any) -> list[Json]:
        """Send the thread; return the calls of tools without a result."""
        if text is not None:
            self.messages.append({"id": str(uuid4()), "role": "user", "content": text})
        body = {"threadId": self.thread, "runId": str(uuid4()), "messages": self.messages, "tools": TOOLS}
        answer = self.client.post(self.path, json={**body, "context": [], **more})
        assert answer.status_code == 200, answer.text
        frames = [line for line in answer.text.splitlines() if line.startswith("data: ")]
        self.events = [json.loads(line.removeprefix("data: ")) for line in frames]
        pending = self._apply()
        return list(pending.values())

    def _apply(self) -> dict[str, Json]:
        pending: dict[str, Json] = {}
        for event in self.events:
            match event["type"]:
                case "TEXT_MESSAGE_START":
                    self.messages.append({"id": event["messageId"], "role": "assistant", "content": ""})
                case "TEXT_MESSAGE_CONTENT":
                    self.messages[-1]["content"] += event["delta"]
                case "TOOL_CALL_START":
                    function = {"name": event["toolCallName"], "arguments": ""}
                    call = {"id": event["toolCallId"], "type": "function", "function": function}
                    pending[call["id"]] = call
                    self.messages.append({"id": call["id"], "role": "assistant", "toolCalls": [call]})
                case "TOOL_CALL_ARGS":
                    pending[event["toolCallId"]]["function"]["arguments"] += event["delta"]
                case "TOOL_CALL_RESULT":
                    pending.pop(event["toolCallId"], None)
                    self.answer({"id": event["toolCallId"]}, event["content"])
        return pending

    def answer(self, call: Json, output: str) -> None:
        """Add what a call gave, behind it."""
        message = {"id": str(uuid4()), "role": "tool", "toolCallId": call["id"], "content": output}
        place = [one["id"] for one in self.messages].index(call["id"])
        self.messages.insert(place + 1, message)

    @property
    def text(self) -> str:
        return str(self.messages[-1]["content"])


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
        said = {"status": "resolved", "payload": {"approved": False}}
        calls = frontend.ask(resume=[{"interruptId": interrupt["id"], **said}])
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


class UiFrontend:
    """A frontend that speaks the AI SDK's UI message stream, as far as these tests need one."""

    def __init__(self, client: httpx.Client, tools: Any = TOOLS) -> None:
        self.client, self.tools = client, tools
        self.chat, self.messages = str(uuid4()), list[Json]()
        self.parts = list[Json]()

    def ask(self, text: str | None = None) -> list[Json]:
        """Send the chat; return the calls that the client has to make."""
        if text is not None:
            part = {"type": "text", "text": text}
            self.messages.append({"id": str(uuid4()), "role": "user", "parts": [part]})
        body = {"id": self.chat, "messages": self.messages, "tools": self.tools, "trigger": "submit-message"}
        answer = self.client.post("/api/v1/chat/ui", json=body)
        assert answer.status_code == 200, answer.text
        frames = [line for line in answer.text.splitlines() if line.startswith("data: {")]
        self.parts = [json.loads(line.removeprefix("data: ")) for line in frames]
        [start] = [part for part in self.parts if part["type"] == "start"]
        if self.messages[-1]["id"] != start["messageId"]:
            self.messages.append({"id": start["messageId"], "role": "assistant", "parts": []})
        message = self.messages[-1]["parts"]
        for part in self.parts:
            if part["type"] == "text-delta":
                message.append({"type": "text", "text": part["delta"]})
            if part["type"] == "tool-input-available":
                name = part["toolName"]
                type = "dynamic-tool" if part.get("dynamic") else f"tool-{name}"
                message.append({**part, "type": type, "state": "input-available"})
            if part["type"] == "tool-output-available":
                [call] = [one for one in message if one.get("toolCallId") == part["toolCallId"]]
                call |= {"state": "output-available", "output": part["output"]}
        return [one for one in message if one.get("state") == "input-available"]

    @property
    def text(self) -> str:
        return "".join(part["text"] for part in self.messages[-1]["parts"] if part["type"] == "text")


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
        told = [part for part in frontend.parts if part.get("toolCallId") == call["toolCallId"]]
        assert [part["type"] for part in told] == [
            "tool-input-start",
            "tool-input-delta",
            "tool-input-available",
        ]
        assert json.loads(told[1]["inputTextDelta"]) == call["input"]
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
