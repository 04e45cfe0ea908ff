from .pages import Tree

# The page changes three agents; what they do then is in the stream and in the run.
TEST = """\
from chat_agent.agents import AGENTS
from testkit.eventually import until

from .test_compaction import Talk
from .client_helpers import payloads_of, read_events, start_run, wait_until_finished


def call(client, name, agent):
    run = start_run(client, f"Go input=facts [sandbox: call={name}]", agent_type=agent)
    return wait_until_finished(client, run), read_events(client, run)


def test_an_activated_agent_goes_on_with_the_conversation(ann):
    run, events = call(ann, "transfer_to_research", "code_assistant")
    assert (run["handoffs"], run["final_agent"]) == (["research"], "research")
    assert [change["to"] for change in payloads_of(events, "agent.changed")] == ["research"]


def test_an_agent_as_a_tool_answers_and_the_conversation_stays(ann):
    run, events = call(ann, "ask_research", "data_analyst")
    assert (run["handoffs"], run["final_agent"]) == ([], "data_analyst")
    assert [called["name"] for called in payloads_of(events, "tool.called")] == ["ask_research"]
    assert [output["name"] for output in payloads_of(events, "tool.output")] == ["ask_research"]


def test_an_agent_remembers_what_a_person_says(ann):
    said = 'I live in Basel. [sandbox: call=remember] text="I live in Basel"'
    run = start_run(ann, said, agent_type="triage")
    (noted,) = payloads_of(read_events(ann, run), "memory.noted")
    again = start_run(ann, "Where in Basel is a bakery?", agent_type="triage")
    (recalled,) = payloads_of(read_events(ann, again), "memory.recalled")
    assert recalled["memories"] == [noted["memory"]]


def test_a_long_conversation_is_summarized(ann, settings, monkeypatch):
    policy = AGENTS["triage"].compaction.model_copy(update={"tokens": 1})
    assert (AGENTS["triage"].compaction.tokens, policy.share) == (50_000, 0.6)
    monkeypatch.setattr(AGENTS["triage"], "compaction", policy)
    talk = Talk(ann, settings, None, [])
    for number in range(5):
        run = start_run(ann, f"Number {number}", agent_type="triage", conversation_id=talk.id)
        wait_until_finished(ann, run)
    until(lambda: not talk.rows)
    run = start_run(ann, "And now?", agent_type="triage", conversation_id=talk.id)
    assert payloads_of(read_events(ann, run), "history.compacted")
"""


def test_agents_are_activated_and_used_as_tools(tmp_path):
    tree = Tree(tmp_path)
    assert len(tree.apply("../agents")) == 3
    (tree.root / "services/chat-agent/tests/test_page.py").write_text(TEST)
    tree.test("services/chat-agent/tests/test_page.py")
