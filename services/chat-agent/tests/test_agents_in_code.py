"""Agents in code have the memory and the summaries that definitions have, by the same mechanism."""

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import httpx
import pytest
from agents import Agent
from chat_agent.agent_definitions.selection import digest_in_code
from chat_agent.agents import AGENTS
from chat_agent.agents.acme_agent import AcmeAgent
from chat_agent.agents.tool import RunContext
from chat_agent.compaction.block import summary_block
from chat_agent.compaction.policy import CompactionPolicy
from chat_agent.direct_models import DirectModel
from chat_agent.memory.use import MemoryUse
from chat_agent.settings import Settings
from testkit.eventually import until

from .client_helpers import payloads_of, read_events, start_run, wait_until_finished
from .conftest import OtherServices
from .test_compaction import Call, Talk, summary_calls
from .test_memories import add, listed

Person = Callable[..., httpx.Client]
READS_AND_WRITES = MemoryUse(read=True, write=True)


@pytest.fixture(scope="module")
def model_url(recorded_model_url: str) -> str:
    return recorded_model_url


@pytest.fixture(scope="module")
def settings(settings: Settings) -> Settings:
    """Conversations of agents that say nothing are summarized after every turn."""
    direct = {"acme/direct": DirectModel(tenants=frozenset({"*"}), provider_name="sandbox-large")}
    return settings.model_copy(update={"compaction_tokens": 1, "direct_models": direct})


@pytest.fixture
def ann(person: Person) -> httpx.Client:
    return person(uuid4(), f"user:{uuid4()}")


@pytest.fixture
def talk(
    ann: httpx.Client, settings: Settings, other_services: OtherServices, model_calls: list[Call]
) -> Talk:
    return Talk(ann, settings, other_services, model_calls)


@pytest.fixture
def in_code(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Add an agent in code that is called friend."""

    def add_agent(agent: type[Agent[RunContext]] = AcmeAgent, **members: Any) -> None:
        monkeypatch.setitem(AGENTS, "friend", agent(name="friend", instructions="Be kind.", **members))

    return add_agent


def test_recalls_and_notes(ann: httpx.Client, in_code: Callable[..., None]) -> None:
    in_code(memory=READS_AND_WRITES)
    canary = add(ann, "My canary is called Wilhelmine")
    message = 'My canary lives in Basel. [sandbox: call=remember] text="My canary lives in Basel"'
    events = read_events(ann, start_run(ann, message, agent_type="friend"))
    (recalled,) = payloads_of(events, "memory.recalled")
    assert [memory["id"] for memory in recalled["memories"]] == [canary["id"]]
    (noted,) = payloads_of(events, "memory.noted")
    assert [memory["id"] for memory in listed(ann)] == [noted["memory"]["id"], canary["id"]]


def test_an_agent_that_does_not_write_has_no_such_tool(
    ann: httpx.Client, in_code: Callable[..., None]
) -> None:
    in_code(memory=MemoryUse(read=True))
    message = 'My canary lives in Basel. [sandbox: call=remember] text="My canary lives in Basel"'
    wait_until_finished(ann, start_run(ann, message, agent_type="friend"))
    assert listed(ann) == []


@pytest.mark.parametrize("agent", [AcmeAgent, Agent[RunContext]])
def test_an_agent_that_says_nothing_recalls_nothing_and_is_summarized_as_the_service_is_set_up(
    ann: httpx.Client, talk: Talk, in_code: Callable[..., None], agent: type[Agent[RunContext]]
) -> None:
    in_code(agent)
    add(ann, "My canary is called Wilhelmine")
    for number in range(5):
        assert payloads_of(read_events(ann, talk.start(f"My canary sings {number}")), "memory.recalled") == []
    talk.wait_for_summary(position=2)


def test_an_agent_says_when_it_is_summarized(
    talk: Talk, in_code: Callable[..., None], model_calls: list[Call]
) -> None:
    in_code(compaction=CompactionPolicy(tokens=1, keep_turns=1))
    talk.say("My name is Ann")
    talk.say("I live in Basel")
    text = talk.wait_for_summary(position=2)
    [event] = talk.events("Where do I live?")
    assert event["summary_id"].startswith("summary-")
    assert talk.read("Where do I live?")[0] == summary_block(text)["content"]
    until(lambda: not talk.rows)
    before = len(summary_calls(model_calls))
    in_code(compaction=CompactionPolicy(tokens=1_000_000, keep_turns=1))
    talk.say("One more")
    assert talk.rows == []
    assert len(summary_calls(model_calls)) == before


def test_a_direct_model_reads_what_it_is_sent(talk: Talk) -> None:
    for number in range(5):
        talk.say(f"Number {number}", agent_type="acme/direct")
        assert talk.rows == []


def test_what_it_says_is_part_of_its_version() -> None:
    plain = Agent[RunContext](name="friend", instructions="Be kind.")
    agents = [
        AcmeAgent(name="friend", instructions="Be kind."),
        AcmeAgent(name="friend", instructions="Be kind.", memory=MemoryUse(read=True)),
        AcmeAgent(name="friend", instructions="Be kind.", compaction=CompactionPolicy()),
    ]
    digests = [digest_in_code(agent) for agent in (plain, *agents)]
    assert digests[0] == digests[1]
    assert len({*digests}) == 3


def test_a_copy_has_its_tool_once() -> None:
    agent = AcmeAgent(name="friend", instructions="Be kind.", memory=READS_AND_WRITES)
    copy = agent.clone(instructions="Be brief.")
    assert [tool.name for tool in copy.tools] == ["remember"]
    assert isinstance(copy, AcmeAgent)
    assert copy.memory == READS_AND_WRITES
