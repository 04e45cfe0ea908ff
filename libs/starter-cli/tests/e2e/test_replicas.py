"""Two replicas of the chat-agent: whichever of them dies or is replaced, a run goes on and is heard whole."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress

import httpx
import pytest
from starter_cli import events
from starter_cli.events import TERMINAL, RunEvent
from starter_cli.stack import Stack

from .conftest import Person, http_client, until

REPLICAS = ("chat-agent", "chat-agent-2")
SLOW = "Tell me more [sandbox: tokens=120, rate=25]"
# So many events has every run in its midst: a machine that stands still makes one of many words.
BEGINNING = 5


class Listener:
    """A client that asks for a run, and comes back as a browser does, after the last event that it has."""

    def __init__(self, person: Person) -> None:
        self._person = person
        self.received: list[RunEvent] = []

    def begin(self, then: Callable[[], None] = lambda: None) -> None:
        """Start a run and receive it until the stream ends or breaks; `then` is called in its midst."""
        chat = self._person.http.stream("POST", "/api/v1/chat/stream", json={"message": SLOW})
        with suppress(httpx.TransportError), chat as answer:
            assert answer.status_code == 200, answer.read()
            for event in events.read(answer):
                self.received.append(event)
                if len(self.received) == BEGINNING:
                    then()

    def go_on(self, person: Person) -> None:
        """Read the rest as somebody else's connection returns it."""
        until(lambda: self.is_over or self.read_more(person))

    def read_more(self, person: Person) -> bool:
        """Read what comes after the last event until the stream ends or breaks; return whether it was all."""
        path = f"/api/v1/runs/{self.received[0].data['run_id']}/events"
        after = {"Last-Event-ID": self.received[-1].id}
        with suppress(httpx.TransportError), person.http.stream("GET", path, headers=after) as answer:
            assert answer.status_code in {200, 503}, answer.read()
            if answer.status_code == 200:
                self.received.extend(events.read(answer))
        return self.is_over

    def all(self) -> None:
        """Start a run and receive all of it, whatever breaks."""
        self.begin()
        self.go_on(self._person)

    @property
    def is_over(self) -> bool:
        return bool(self.received) and self.received[-1].type in TERMINAL

    @property
    def text(self) -> str:
        """Put together what was said and not withdrawn."""
        items: dict[str, str] = {}
        for event in self.received:
            if event.type == "message.delta":
                items[event.data["item_id"]] = items.get(event.data["item_id"], "") + event.data["delta"]
            for withdrawn in event.data.get("withdrawn", []):
                items.pop(withdrawn, None)
        return "".join(items.values())


def check_whole(person: Person, listener: Listener) -> None:
    """Check that a client received every event once, and that this is what was stored."""
    received = listener.received
    assert [event.id for event in received] == [str(number + 1) for number in range(len(received))]
    assert [event.type for event in received if event.type in TERMINAL] == ["run.completed"]
    assert listener.text == received[-1].data["output"]
    messages = person.messages(received[-1].data["conversation_id"])
    assert [(message["role"], message["content"]) for message in messages] == [
        ("user", SLOW),
        ("assistant", listener.text),
    ]


@contextmanager
def at(stack: Stack, replica: str, person: Person) -> Iterator[Person]:
    """Return a client of somebody for one replica, past the gateway."""
    token = {"Authorization": person.http.headers["Authorization"]}
    url = stack.layout.url(replica)
    with http_client(url, **token) as client:
        yield Person(client)


@pytest.mark.parametrize("replica", REPLICAS)
def test_a_run_whose_replica_is_killed_is_finished_by_the_other_and_nothing_is_missed(
    stack: Stack, neighbour: Person, replica: str
) -> None:
    before = stack.pid(replica)
    with at(stack, replica, neighbour) as direct:
        listener = Listener(direct)
        listener.begin(then=lambda: stack.kill(replica))
    assert not listener.is_over
    listener.go_on(neighbour)
    check_whole(neighbour, listener)
    assert [event.type for event in listener.received].count("run.resumed") == 1
    until(lambda: stack.pid(replica) not in {None, before})


@pytest.mark.parametrize("replica", REPLICAS)
def test_a_replica_that_is_replaced_in_good_order_loses_no_run(
    stack: Stack, neighbour: Person, replica: str
) -> None:
    listeners = [Listener(neighbour) for _ in range(4)]
    with ThreadPoolExecutor() as pool:
        listening = [pool.submit(listener.all) for listener in listeners]
        until(lambda: all(len(listener.received) > BEGINNING for listener in listeners))
        stack.restart(replica)
        for each in listening:
            each.result()
    for listener in listeners:
        check_whole(neighbour, listener)


def test_both_replicas_tell_the_same_of_a_run(stack: Stack, neighbour: Person) -> None:
    listener = Listener(neighbour)
    with ThreadPoolExecutor() as pool:
        listening = pool.submit(listener.all)
        until(lambda: listener.received)
        path = f"/api/v1/runs/{listener.received[0].data['run_id']}/events"

        def events_at(replica: str) -> list[RunEvent]:
            with at(stack, replica, neighbour) as direct, direct.http.stream("GET", path) as answer:
                return [*events.read(answer)]

        during = list(pool.map(events_at, REPLICAS))
        listening.result()
        after = list(pool.map(events_at, REPLICAS))
    assert [*during, *after] == [listener.received] * 4
