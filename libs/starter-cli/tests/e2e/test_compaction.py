"""A long conversation is summarized between its turns by the real services, and the summary counted."""

from typing import Any
from uuid import uuid4

import httpx
from starter_cli.events import RunEvent
from starter_cli.stack import Stack

from .conftest import Person, until

# Due after every turn, whatever the model.
DEFINITION = {"instructions": "You help.", "compaction": {"share": 0.0001, "keep_turns": 1}}
LONG = "I like these words. " * 500


def say(person: Person, conversation_id: str, message: str) -> list[RunEvent]:
    more = {"agent_type": "friend", "conversation_id": conversation_id}
    return [event for _, event in person.stream(message, **more)]


def input_tokens(events: list[RunEvent]) -> int:
    assert events[-1].data["type"] == "run.completed", events[-1]
    tokens: int = events[-1].data["usage"]["input_tokens"]
    return tokens


def test_a_summary_takes_the_place_of_old_turns_and_is_counted(stack: Stack, neighbour: Person) -> None:
    saved = neighbour.http.put("/api/v1/agents/friend", json={"definition": DEFINITION})
    assert saved.status_code == 200, saved.text
    published = neighbour.http.post("/api/v1/agents/friend/publish", json={})
    assert published.status_code == 200, published.text
    conversation_id, name = str(uuid4()), f"Ann {uuid4()}"
    path = f"/api/v1/conversations/{conversation_id}"

    def summary() -> dict[str, Any] | None:
        items = neighbour.http.get(f"{path}/items").json()["items"]
        return next((item for item in items if item["kind"] == "summary"), None)

    turns = [say(neighbour, conversation_id, message) for message in (f"My name is {name}. {LONG}", "Hello")]
    made = until(summary)
    assert made["summarizes"] == {"first_position": 1, "last_position": 2}
    calls = httpx.get(f"{stack.sandbox_url}/_sandbox/calls", timeout=60, trust_env=False).json()
    [call] = [one for one in calls if f"user: My name is {name}" in one["question"]]
    turns.append(say(neighbour, conversation_id, "What is my name?"))
    [compacted] = [event.data for event in turns[-1] if event.data["type"] == "history.compacted"]
    assert compacted["summary_id"] == made["id"]
    assert input_tokens(turns[1]) > 2000 > input_tokens(turns[2]), "the old turn is not read any more"
    assert [one["role"] for one in neighbour.messages(conversation_id)] == ["user", "assistant"] * 3
    runs = sum(map(input_tokens, turns))
    until(lambda: neighbour.usage()["input_tokens"] >= runs + call["usage"]["input"])
