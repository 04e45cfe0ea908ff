"""What a run has told and what it has stored come together again, wherever it broke off."""

from typing import Any, cast
from uuid import uuid4

import pytest
from chat_agent.agents import AGENTS
from chat_agent.event_log import recovery
from chat_agent.event_log.buffer import RunLog
from chat_agent.event_log.recovery import Identity, Told, identity, told_identity
from chat_agent.event_log.store import RecordedLog, RunEvent
from chat_agent.event_log.translator import Narrator
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
    """Tells items as a narrator does, piece by piece; its events are what a log would have."""

    def __init__(self) -> None:
        # It is never connected: nothing is recorded.
        recorded = RecordedLog(Redis(), RUN)
        self.log = RunLog(RUN, CONVERSATION, recorded, attempt=1, keep_seconds=60, note=lambda _log: None)
        self.narrator = Narrator(self.log, AGENT)

    def events(self) -> list[RunEvent]:
        return list(self.log.underway())


def told_of(items: list[Item]) -> list[RunEvent]:
    """Give the events of a run that has told all of these items."""
    teller = Teller()
    teller.log.append("run.started", agent="triage", model="m")
    teller.narrator.go_on(Told(agent="triage"), items, AGENT, "replica_lost")
    events = teller.events()
    return [event for event in events if event.type != "run.resumed"]


def renumbered(events: list[RunEvent]) -> list[RunEvent]:
    return [RunEvent(number, event.type, event.data) for number, event in enumerate(events, 1)]


def is_done(item: Item, made: list[Item]) -> bool:
    """Tell whether an item is one that is told: all but the outputs of handoffs."""
    return identity(item) not in recovery.handoffs_done(made)


def wanted(made: list[Item]) -> list[Identity | None]:
    return sorted(identity(item) for item in made if is_done(item, made))


@given(run=runs(), told=st.floats(0, 1), stored=st.floats(0, 1))
def test_what_stands_afterwards_is_what_is_stored(run: list[Item], told: float, stored: float) -> None:
    events = renumbered(told_of(run))
    events = events[: round(told * len(events))]
    made = run[: round(stored * len(run))]
    before = recovery.read(events)
    after = going_on(before, events, made)
    assert after.begun == {}
    assert sorted(told_identity(item) for item in after.whole.values()) == wanted(made)
    assert recovery.withdrawn(after, made) == []
    assert recovery.untold(after, made) == []


def going_on(before: Told, events: list[RunEvent], made: list[Item]) -> Told:
    """Give what is told after somebody has gone on with what is stored."""
    teller = Teller()
    teller.log.go_on_after(before.last)
    teller.narrator.go_on(before, made, AGENT, "replica_lost")
    return recovery.read([*events, *teller.events()])


@given(run=runs(), cuts=st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), max_size=4))
def test_it_does_so_however_often_it_breaks_off(run: list[Item], cuts: list[tuple[float, float]]) -> None:
    events = renumbered(told_of(run))
    made: list[Item] = []
    for told, stored in cuts:
        events = events[: round(told * len(events))]
        made = run[: max(len(made), round(stored * len(run)))]
        before = recovery.read(events)
        teller = Teller()
        teller.log.go_on_after(before.last)
        teller.narrator.go_on(before, made, AGENT, "replica_lost")
        events = [*events, *teller.events()]
        # No name of an item is given twice.
        begun = [item_of(event)["id"] for event in events if event.type == "item.started"]
        assert len(begun) == len(set(begun))
    after = recovery.read(events)
    if cuts:
        assert sorted(told_identity(item) for item in after.whole.values()) == wanted(made)


def item_of(event: RunEvent) -> Item:
    return cast("Item", event.json()["item"])


@given(run=runs())
def test_what_is_told_again_reads_as_it_did(run: list[Item]) -> None:
    """Deltas, and items that are called and answered: nothing is left out of what a reader relies on."""
    events = told_of(run)
    texts: dict[str, str] = {}
    for event in events:
        data: Any = event.json()
        if event.type in {"message.delta", "reasoning.delta"}:
            texts[data["item_id"]] = texts.get(data["item_id"], "") + data["delta"]
    spoken = [item_of(one) for one in events if one.type == "item.completed" and "text" in item_of(one)]
    assert [texts.get(item["id"], "") for item in spoken] == [item["text"] for item in spoken]
    called = [one.json()["call_id"] for one in events if one.type == "tool.called"]
    answered = [one.json()["call_id"] for one in events if one.type == "tool.output"]
    assert called == answered


@pytest.mark.parametrize(
    ("made", "answer"),
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
def test_an_answer_is_the_last_thing_that_was_said(made: list[Item], answer: str | None) -> None:
    assert recovery.answer(made) == answer


def test_only_handoffs_that_came_about_count() -> None:
    begun = call("a", "transfer_to_data_analyst")
    assert recovery.handoffs([begun]) == []
    assert recovery.handoffs([begun, output("a")]) == ["data_analyst"]


def test_a_change_of_the_agent_that_was_not_told_is_told() -> None:
    made = [call("a", "transfer_to_code_assistant"), output("a")]
    teller = Teller()
    teller.narrator.go_on(Told(last=1, agent="triage"), made, AGENTS["code_assistant"], "replica_lost")
    changed = [event.json() for event in teller.events() if event.type == "agent.changed"]
    assert [(one["from"], one["to"]) for one in changed] == [("triage", "code_assistant")]
    assert teller.narrator.handoffs == ["code_assistant"]
