from .pages import Tree


def test_a_tool_takes_at_most_two_files_and_a_test(tmp_path):
    tree = Tree(tmp_path)
    written = tree.apply("add-a-tool")
    assert len(written) <= 3
    tree.run_commands("add-a-tool")
