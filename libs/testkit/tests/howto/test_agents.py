from .pages import Tree

# The page changes two agents; what they do then is in the stream and in the run.
TEST = """\
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
"""


def test_agents_are_activated_and_used_as_tools(tmp_path):
    tree = Tree(tmp_path)
    assert len(tree.apply("../agents")) == 2
    (tree.root / "services/chat-agent/tests/test_page.py").write_text(TEST)
    tree.test("services/chat-agent/tests/test_page.py")
