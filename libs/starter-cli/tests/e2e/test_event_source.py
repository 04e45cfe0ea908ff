"""An EventSource that follows a run survives the loss of the replicas that answer it."""

from typing import Any

import pytest
from starter_cli.stack import Stack
from testkit.node_scripts import event_source

from .conftest import Person, until

# Some seconds: enough to be lost in the middle.
SLOW = "Tell me a long story [sandbox: tokens=150, rate=25]"
# So many events has every run in its midst: a machine that stands still makes one of many words.
BEGINNING = 5
REPLICAS = ("chat-agent", "chat-agent-2")
TYPES = ["run.started", "run.resumed", "message.delta", "run.completed", "run.failed"]


@pytest.mark.parametrize("killed", [REPLICAS[:1], REPLICAS[1:], REPLICAS], ids=", ".join)
def test_comes_back_by_itself(stack: Stack, neighbour: Person, killed: tuple[str, ...]) -> None:
    before = [stack.pid(replica) for replica in killed]
    run = neighbour.http.post("/api/v1/runs", json={"message": SLOW}).json()
    url = f"{stack.gateway_url}/api/v1/runs/{run['id']}/events"
    token = neighbour.http.headers["Authorization"].removeprefix("Bearer ")
    received: list[dict[str, Any]] = []
    with event_source(url, token, TYPES) as source:
        for one in source:
            assert not one.get("isClosed"), one
            received.append(one)
            if len(received) == BEGINNING:
                for replica in killed:
                    stack.kill(replica)
            if one["type"] in {"run.completed", "run.failed"}:
                break
    numbers = [int(one["id"]) for one in received if one["type"] in TYPES]
    assert received[-1]["type"] == "run.completed"
    # Each event once, in order; events of other types are not listened to.
    assert numbers == sorted(set(numbers))
    if len(killed) > 1:
        assert [one["type"] for one in received].count("run.resumed") == 1
    until(lambda: not {stack.pid(replica) for replica in killed} & {None, *before})
