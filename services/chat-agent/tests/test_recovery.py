"""What a run has told and what it has stored come together again, wherever it broke off."""

from typing import Any, cast
from uuid import uuid4

import pytest
from chat_agent.agents import AGENTS
from chat_agent.event_log import recovery
from chat_agent.event_log.buffer import EventBuffer
from chat_agent.event_log.recovery import Identity, LoggedState, identity, logged_identity
from chat_agent.event_log.store import EventStore, RunEvent
from chat_agent.event_log.translator import EventTranslator
from hypothesis import given
from hypothesis import strategies as st
from redis.asyncio import Redis

Item = dict[str, Any]
AGENT = AGENTS["triage"]
RUN, CONVERSATION = uuid4(), uuid4()


def message(text: str) -> Item:
    part = {"type": "output_text", "text": text, "annotations": []}
    return {"type": "message", "role": "assistant", "status": "completed", "content": [part]}


def refusal(text: str) -> Item:
    return {**message(""), "content": [{"type": "refusal", "refusal": text}]}


def reasoning(text: str) -> Item:
    return {"type": "reasoning", "id": "rs", "summary": [{"type": "summary_text", "text": text}]}


def call(call_id: str, name: str) -> Item:
    return {"type": "function_call", "call_id": call_id, "name": name, "arguments": "{}"}


def output(call_id: str) -> Item:
    return {"type": "function_call_output", "call_id": call_id, "output": f"of {call_id}"}


@st.composite
def runs(draw: st.DrawFn) -> list[Item]:
    """Make all that a run comes to say and do; texts may be the same, ids of calls are not."""
    items: list[Item] = []
    for number in range(draw(st.integers(0, 6))):
        text = draw(st.sampled_from(["", "Well.", "Yes.", "No \N{SNOWMAN}."]))
        kind = draw(st.sampled_from([message, refusal, reasoning, "tool", "handoff"]))
        if callable(kind):
            items.append(kind(text or "-"))
            continue
        name = "current_time" if kind == "tool" else "transfer_to_code_assistant"
        items += [call(f"call_{number}", name), output(f"call_{number}")]
    return items


class Teller:
    """Streams items piece by piece; its events are what a log would have."""

    def __init__(self) -> None:
        # It is never connected: nothing is recorded.
        recorded = EventStore(Redis(), RUN)
        self.log = EventBuffer(
            RUN, CONVERSATION, recorded, attempt=1, ttl_seconds=60, mark_dirty=lambda _log: None
        )
        self.narrator = EventTranslator(self.log, AGENT)

    def events(self) -> list[RunEvent]:
        return list(self.log.unacknowledged())


def events_of(items: list[Item]) -> list[RunEvent]:
    """Return the events of a run that has published all of these items."""
    teller = Teller()
    teller.log.append("run.started", agent="triage", model="m")
    teller.narrator.resume(LoggedState(agent="triage"), items, AGENT, "worker_lost")
    events = teller.events()
    return [event for event in events if event.type != "run.resumed"]


def renumbered(events: list[RunEvent]) -> list[RunEvent]:
    return [RunEvent(number, event.type, event.data) for number, event in enumerate(events, 1)]


def is_done(item: Item, items: list[Item]) -> bool:
    """Return whether an item is one that is published: all but the outputs of handoffs."""
    return identity(item) not in recovery.completed_handoffs(items)


def expected(items: list[Item]) -> list[Identity | None]:
    return sorted(identity(item) for item in items if is_done(item, items))


@given(run=runs(), received=st.floats(0, 1), stored=st.floats(0, 1))
def test_what_stands_afterwards_is_what_is_stored(run: list[Item], received: float, stored: float) -> None:
    events = renumbered(events_of(run))
    events = events[: round(received * len(events))]
    items = run[: round(stored * len(run))]
    before = recovery.read_log_state(events)
    after = going_on(before, events, items)
    assert after.partial == {}
    assert sorted(logged_identity(item) for item in after.completed.values()) == expected(items)
    assert recovery.retracted_items(after, items) == []
    assert recovery.missing_items(after, items) == []


def going_on(before: LoggedState, events: list[RunEvent], items: list[Item]) -> LoggedState:
    """Return what is published after somebody has gone on with what is stored."""
    teller = Teller()
    teller.log.start_after(before.last)
    teller.narrator.resume(before, items, AGENT, "worker_lost")
    return recovery.read_log_state([*events, *teller.events()])


@given(run=runs(), cuts=st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), max_size=4))
def test_it_does_so_however_often_it_breaks_off(run: list[Item], cuts: list[tuple[float, float]]) -> None:
    events = renumbered(events_of(run))
    items: list[Item] = []
    for received, stored in cuts:
        events = events[: round(received * len(events))]
        items = run[: max(len(items), round(stored * len(run)))]
        before = recovery.read_log_state(events)
        teller = Teller()
        teller.log.start_after(before.last)
        teller.narrator.resume(before, items, AGENT, "worker_lost")
        events = [*events, *teller.events()]
        # No name of an item is given twice.
        started = [item_of(event)["id"] for event in events if event.type == "item.started"]
        assert len(started) == len(set(started))
    after = recovery.read_log_state(events)
    if cuts:
        assert sorted(logged_identity(item) for item in after.completed.values()) == expected(items)


def item_of(event: RunEvent) -> Item:
    return cast("Item", event.json()["item"])


@given(run=runs())
def test_events_that_are_replayed_are_the_same(run: list[Item]) -> None:
    """Deltas, and items that are called and answered: nothing is left out of what a reader relies on."""
    events = events_of(run)
    texts: dict[str, str] = {}
    for event in events:
        data: Any = event.json()
        if event.type in {"message.delta", "reasoning.delta"}:
            texts[data["item_id"]] = texts.get(data["item_id"], "") + data["delta"]
    frames = [item_of(one) for one in events if one.type == "item.completed" and "text" in item_of(one)]
    assert [texts.get(item["id"], "") for item in frames] == [item["text"] for item in frames]
    called = [one.json()["call_id"] for one in events if one.type == "tool.called"]
    answered = [one.json()["call_id"] for one in events if one.type == "tool.output"]
    assert called == answered


@pytest.mark.parametrize(
    ("items", "answer"),
    [
        ([], None),
        ([message("Yes.")], "Yes."),
        ([refusal("No.")], "No."),
        ([{**message("Ye"), "status": "incomplete"}], None),
        ([message("Yes."), call("c", "current_time")], None),
        ([call("c", "current_time"), output("c")], None),
        ([{"role": "assistant", "content": "Yes."}], "Yes."),
    ],
)
def test_the_answer_is_the_last_message(items: list[Item], answer: str | None) -> None:
    assert recovery.final_answer(items) == answer


def test_only_handoffs_that_came_about_count() -> None:
    started = call("a", "transfer_to_data_analyst")
    assert recovery.handoffs([started]) == []
    assert recovery.handoffs([started, output("a")]) == ["data_analyst"]


def test_a_change_of_the_agent_that_was_not_published_is_published() -> None:
    items = [call("a", "transfer_to_code_assistant"), output("a")]
    teller = Teller()
    teller.narrator.resume(
        LoggedState(last=1, agent="triage"), items, AGENTS["code_assistant"], "worker_lost"
    )
    changed = [event.json() for event in teller.events() if event.type == "agent.changed"]
    assert [(one["from"], one["to"]) for one in changed] == [("triage", "code_assistant")]
    assert teller.narrator.handoffs == ["code_assistant"]
