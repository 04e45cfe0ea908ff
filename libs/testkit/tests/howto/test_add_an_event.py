import json
import sys

from .pages import Tree

MISMATCHED = "from testkit.contract_documents import mismatched_events; print(mismatched_events())"


def test_an_event_with_its_reaction_takes_at_most_seven_files(tmp_path):
    tree = Tree(tmp_path)
    assert len(tree.apply("add-an-event-with-its-reaction")) <= 7
    tree.run_commands("add-an-event-with-its-reaction")

    schema = tree.root / "services/auth/contract/events/auth.user.email_changed.v1.json"
    assert "user_id" in json.loads(schema.read_text())["properties"]
    assert tree.run(sys.executable, "-c", MISMATCHED).strip() == "[]"
