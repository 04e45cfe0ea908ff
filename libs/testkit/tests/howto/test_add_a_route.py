import json

from .pages import Tree


def test_a_route_takes_at_most_three_files_and_a_test(tmp_path):
    tree = Tree(tmp_path)
    written = tree.apply("add-a-route")
    assert len(written) <= 4
    tree.run_commands("add-a-route")
    contract = json.loads((tree.root / "services/conversation/contract/openapi.json").read_text())
    assert "post" in contract["paths"]["/api/v1/conversations/deletions"]
