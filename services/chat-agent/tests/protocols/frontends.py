"""Frontends that speak AG-UI and UI messages, as far as tests need them."""

from typing import Any
from uuid import uuid4

import httpx
from testkit.sse import documents

PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
NAMES = ("get_weather", "get_stock")
TOOLS: Any = [{"name": name, "description": "Return it.", "parameters": PARAMETERS} for name in NAMES]
Json = dict[str, Any]


class AgUiFrontend:
    """Sends and shows the messages of a thread."""

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
        self.events = documents(answer)
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


class UiFrontend:
    """Sends and shows the messages of a chat, as `useChat` does."""

    def __init__(self, client: httpx.Client, tools: Any = TOOLS) -> None:
        self.client, self.tools = client, tools
        self.chat, self.messages = str(uuid4()), list[Json]()
        self.parts = list[Json]()

    def ask(self, text: str | None = None, trigger: str = "submit-message", **more: Any) -> list[Json]:
        """Send the chat; return the calls that the client has to make."""
        if text is not None:
            part = {"type": "text", "text": text}
            self.messages.append({"id": str(uuid4()), "role": "user", "parts": [part]})
        body = {"id": self.chat, "messages": self.messages, "tools": self.tools, "trigger": trigger}
        answer = self.client.post("/api/v1/chat/ui", json={**body, **more})
        assert answer.status_code == 200, answer.text
        self.parts = documents(answer)
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
