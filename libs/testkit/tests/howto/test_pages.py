import pytest

from .pages import Tree, blocks, commands, patched

PAGE = """
# Add a thing

`services/x/new.py`

```python
x = 1
```

`services/x/old.py`:

```diff
 def f():
-    return 1
+    return 2
@@
+# the end
 END = 1
```

```sh
make contracts
.venv/bin/pytest services/x
```
"""


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """A small repository and a page about it."""
    root = tmp_path / "repository"
    (root / "docs/howto").mkdir(parents=True)
    (root / "services/x").mkdir(parents=True)
    (root / "docs/howto/add-a-thing.md").write_text(PAGE)
    (root / "services/x/old.py").write_text("def f():\n    return 1\n\n\nEND = 1\n")
    monkeypatch.setattr("libs.testkit.tests.howto.pages.ROOT", root)
    monkeypatch.setattr("libs.testkit.tests.howto.pages.PAGES", root / "docs/howto")
    return Tree(tmp_path)


def test_a_page_is_applied_as_it_is_written(tree):
    assert [block.language for block in blocks("add-a-thing")] == ["python", "diff", "sh"]
    assert commands("add-a-thing") == ["make contracts", ".venv/bin/pytest services/x"]
    assert tree.apply("add-a-thing") == {"services/x/new.py", "services/x/old.py"}
    assert (tree.root / "services/x/new.py").read_text() == "x = 1\n"
    assert (tree.root / "services/x/old.py").read_text() == (
        "def f():\n    return 2\n\n\n# the end\nEND = 1\n"
    )


def test_a_step_that_no_longer_fits_the_code_fails():
    with pytest.raises(AssertionError, match="has 0 times"):
        patched("a = 1\n", "-a = 2\n+a = 3\n", "a.py")
    with pytest.raises(AssertionError, match="has 2 times"):
        patched("a = 1\na = 1\n", "-a = 1\n+a = 3\n", "a.py")
