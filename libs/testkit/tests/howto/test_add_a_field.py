import json

from .pages import Tree


def test_a_field_of_a_conversation_takes_at_most_five_files(tmp_path):
    tree = Tree(tmp_path)
    written = tree.apply("add-a-field-to-a-conversation")
    tree.run_commands("add-a-field-to-a-conversation")

    [migration] = tree.root.glob("services/conversation/migrations/versions/*_add_an_icon.py")
    assert (
        'op.add_column("conversations", sa.Column("icon", sa.Text(), nullable=True))' in migration.read_text()
    )
    assert len(written | {migration}) <= 5
    contract = json.loads((tree.root / "services/conversation/contract/openapi.json").read_text())
    assert "icon" in contract["components"]["schemas"]["NewConversation"]["properties"]
