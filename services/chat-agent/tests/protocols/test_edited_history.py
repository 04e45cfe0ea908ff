"""What a frontend shows of a conversation is what the model is told: after an edit, and a regeneration."""

from typing import Any
from uuid import uuid4

import httpx
import pytest
from chat_agent.execution.history import difference

from .frontends import AgUiFrontend, UiFrontend


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def assistant(*texts: str) -> dict[str, Any]:
    return {
        "type": "message",
        "role": "assistant",
        "content": [{"type": "output_text", "text": t} for t in texts],
    }


STORED = [user("One"), assistant("1"), user("Two"), {"type": "function_call", "call_id": "c"}, assistant("2")]


@pytest.mark.parametrize(
    ("client", "unchanged", "added"),
    [
        # All of it, an answer only in part, joined in another way, or with a turn that was deleted here.
        (STORED, 5, []),
        ([*STORED[:3], assistant("")], 5, []),
        ([user("One"), assistant("1"), user("Two"), assistant("2 "), user("Three")], 5, []),
        # Truncated, and edited.
        ([], 0, []),
        (STORED[:2], 2, []),
        ([user("One"), assistant("1"), user("Zwei")], 2, [user("Zwei")]),
        ([user("One"), assistant("Uno"), user("Two")], 0, [user("One"), assistant("Uno"), user("Two")]),
        # What the application says before the first message is no turn.
        ([{"role": "developer", "content": "Be brief"}, *STORED], 5, []),
    ],
)
def test_what_differs_from_the_client_is_found(client: Any, unchanged: int, added: Any) -> None:
    assert difference(client, STORED) == (unchanged, added)


def test_what_was_deleted_stays_deleted() -> None:
    rest = [{"type": "function_call_output"}, assistant("Forgotten"), user("New"), assistant("!")]
    client_history = [user("Secret"), assistant("Ok"), user("Forget it"), assistant("Forgotten"), *rest[2:]]
    assert difference(client_history, rest) == (4, [])
    assert difference(client_history[:4], rest) == (2, [])
    assert difference(client_history, []) == (0, [])


def messages(other_services: Any, conversation_id: str) -> list[str]:
    return [text for role, text in other_services.messages(conversation_id) if role == "user"]


class TestUiMessages:
    def test_a_regenerated_answer_replaces_the_first(self, ann: httpx.Client, other_services: Any) -> None:
        frontend = UiFrontend(ann)
        frontend.ask("Hello")
        frontend.ask("What is up?")
        first = frontend.messages.pop()
        frontend.ask(trigger="regenerate-message", messageId=first["id"])
        assert messages(other_services, frontend.chat) == ["Hello", "What is up?"]
        assert len(other_services.messages(frontend.chat)) == 4
        superseded = [item["data"]["role"] for _, item in other_services.superseded[frontend.chat]]
        assert superseded == ["user", "assistant"]

    def test_an_edited_message_replaces_what_came_after_it(
        self, ann: httpx.Client, other_services: Any
    ) -> None:
        frontend = UiFrontend(ann)
        for text in ("Hello", "Tell me about kiwis", "More"):
            frontend.ask(text)
        edited = frontend.messages[2]
        edited["parts"] = [{"type": "text", "text": "Tell me about emus"}]
        del frontend.messages[3:]
        frontend.ask(messageId=edited["id"])
        assert messages(other_services, frontend.chat) == ["Hello", "Tell me about emus"]
        frontend.ask("More")
        assert messages(other_services, frontend.chat) == ["Hello", "Tell me about emus", "More"]

    def test_who_sends_the_last_message_alone_goes_on(self, ann: httpx.Client, other_services: Any) -> None:
        frontend = UiFrontend(ann)
        frontend.ask("Hello")
        frontend.messages.clear()
        frontend.ask("And?")
        assert messages(other_services, frontend.chat) == ["Hello", "And?"]

    def test_after_a_call_of_its_tool(self, ann: httpx.Client, other_services: Any) -> None:
        frontend = UiFrontend(ann)
        [call] = frontend.ask("How is it? [sandbox: call=get_weather]")
        call |= {"state": "output-available", "output": "Snow"}
        frontend.ask(messageId=frontend.messages[-1]["id"])
        assert "Snow" in frontend.text
        frontend.messages.pop()
        [again] = frontend.ask(trigger="regenerate-message")
        assert again["toolCallId"] != call["toolCallId"]
        again |= {"state": "output-available", "output": "Sun"}
        frontend.ask()
        assert "Sun" in frontend.text
        outputs = [item["data"].get("output") for item in other_services.items[frontend.chat]]
        assert [one for one in outputs if one] == ["Sun"]


class TestAgUi:
    def test_a_truncated_thread_is_truncated(self, ann: httpx.Client, other_services: Any) -> None:
        frontend = AgUiFrontend(ann)
        frontend.ask("Hello")
        frontend.ask("Tell me about kiwis")
        del frontend.messages[2:]
        frontend.ask("Tell me about emus")
        assert messages(other_services, frontend.thread) == ["Hello", "Tell me about emus"]

    def test_an_edited_answer_is_sent_to_the_model(self, ann: httpx.Client, other_services: Any) -> None:
        frontend = AgUiFrontend(ann)
        frontend.ask("Hello")
        frontend.messages[1]["content"] = "I am somebody else."
        frontend.ask("Who are you?")
        texts = [text for _, text in other_services.messages(frontend.thread)]
        assert texts[:3] == ["Hello", "I am somebody else.", "Who are you?"]
        frontend.ask("And?")
        assert messages(other_services, frontend.thread) == ["Hello", "Who are you?", "And?"]

    def test_who_sends_the_last_message_alone_says_so(self, ann: httpx.Client, other_services: Any) -> None:
        frontend = AgUiFrontend(ann)
        frontend.ask("Hello")
        frontend.messages.clear()
        frontend.ask("And?", forwardedProps={"history": "stored"})
        assert messages(other_services, frontend.thread) == ["Hello", "And?"]
        refused = ann.post(
            frontend.path,
            json={
                "threadId": str(uuid4()),
                "runId": "r",
                "messages": frontend.messages,
                "forwardedProps": {"history": "mine"},
            },
        )
        assert refused.status_code == 422


def runs_of(client: httpx.Client, conversation_id: str, **query: Any) -> list[tuple[str, bool]]:
    answer = client.get("/api/v1/runs", params={"conversation_id": conversation_id, **query})
    statuses = {"completed", "cancelled"}
    assert {run["status"] for run in answer.json()["items"]} <= statuses
    return [
        (client.get(f"/api/v1/runs/{run['id']}").json()["message"], run["superseded"])
        for run in answer.json()["items"]
    ]


class TestRuns:
    def test_superseded_runs_are_marked_and_left_out(self, ann: httpx.Client) -> None:
        frontend = UiFrontend(ann)
        for text in ("One", "Two", "Three"):
            frontend.ask(text)
        edited = frontend.messages[2]
        edited["parts"] = [{"type": "text", "text": "Zwei"}]
        del frontend.messages[3:]
        frontend.ask(messageId=edited["id"])
        assert runs_of(ann, frontend.chat) == [("Zwei", False), ("One", False)]
        whole = runs_of(ann, frontend.chat, include_superseded=True)
        assert whole == [("Zwei", False), ("Three", True), ("Two", True), ("One", False)]
        totals = ann.get("/api/v1/runs/totals", params={"conversation_id": frontend.chat}).json()
        assert sum(each["runs"] for each in totals) == 4

    def test_what_a_deleted_response_has_superseded_is_current_again(self, ann: httpx.Client) -> None:
        frontend = AgUiFrontend(ann)
        frontend.ask("One")
        del frontend.messages[:]
        frontend.ask("Uno")
        assert runs_of(ann, frontend.thread) == [("Uno", False)]
        [newest] = ann.get("/api/v1/runs", params={"conversation_id": frontend.thread}).json()["items"]
        answer = ann.delete(f"/v1/responses/resp_{newest['id'].replace('-', '')}")
        assert answer.status_code == 200, answer.text
        assert runs_of(ann, frontend.thread) == [("", False), ("One", False)]
