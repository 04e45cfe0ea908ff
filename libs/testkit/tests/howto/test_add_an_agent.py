from .pages import Tree

# Not part of the page, since the page adds no behaviour that other tests would not see.
TEST = """\
def test_answers_as_the_agent(ann):
    answer = ann.post("/api/v1/chat", json={"message": "Hello", "agent_type": "translator"})
    assert answer.json()["agent_used"] == "translator"
    assert "translator" in [agent["name"] for agent in ann.get("/api/v1/agents").json()]
"""


def test_an_agent_takes_at_most_two_files(tmp_path):
    tree = Tree(tmp_path)
    written = tree.apply("add-an-agent")
    assert len(written) <= 2
    (tree.root / "services/chat-agent/tests/test_translator.py").write_text(TEST)
    tree.test("services/chat-agent/tests/test_translator.py")
    tree.make("lint")
