"""Names are the field's words: an identifier has none of those that once stood for several things each.

Looked at are modules, classes, functions, parameters, assigned names and attributes; of tests,
modules, classes and functions. There, sentences may have verbs such as `tell`.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from testkit.pacts import ROOT

# Each with what to write instead.
BANNED = {
    "told": "event, payload, result",
    "tell": "publish, emit, return",
    "tells": "publishes, emits",
    "heard": "received, consumed",
    "hear": "receive, consume, subscribe",
    "asked": "request, query",
    "wanted": "request, filters, expected",
    "kept": "stored, cached",
    "given": "the thing itself",
    "held": "locked, cached",
    "shown": "a schema's name, displayed",
    "say": "print, encode",
    "said": "text, output",
    "speak": "encode",
    "spoken": "text, output",
    "voice": "protocol, encoder",
    "leavers": "deleted_users, erasure",
    "standing": "membership, status",
    "door": "port, client",
    "doors": "ports, clients",
    "desk": "dispatcher, rate limiter",
    "ear": "subscriber, rate limiter",
    "keeper": "supervisor, renewer",
    "patience": "timeout, retry policy",
    "underway": "running, unacknowledged",
    "unlikeness": "anomaly",
}
# What a docstring does not begin with, and what to write instead.
VAGUE = {
    "Give": "Return, Assign, Add",
    "Tell": "Return, Notify, Publish",
    "Say": "Return, Print, Encode",
    "Hear": "Read, Receive, Consume",
    "Let": "Allow, Make, and what is done",
    "Ask": "Request, Query, Call, Require",
    "Forget": "Delete, Reset",
    "Hold": "Lock, Store, Run",
    "Keep": "Store, Lock, Record",
    "Look": "Find, Query, Check",
    "Show": "Return, Render, Print, List",
    "Take": "Remove, Reserve, Count, Read",
}
VERBS = {"tell", "tells", "hear", "say", "speak", "ear", "desk"}
PACKAGES = [
    ROOT / "scripts",
    *sorted(
        path.parent for member in ("libs", "services") for path in ROOT.glob(f"{member}/*/*/__init__.py")
    ),
]
TESTS = sorted(path for member in ("libs", "services") for path in ROOT.glob(f"{member}/*/tests"))


def identifiers(source: Path) -> Iterator[tuple[str, int]]:
    """Return the names that a module defines, its own first, with their lines."""
    yield source.stem, 1
    for node in ast.walk(ast.parse(source.read_text())):
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                yield node.name, node.lineno
            case ast.arg():
                yield node.arg, node.lineno
            case ast.Name(ctx=ast.Store()):
                yield node.id, node.lineno
            case ast.Attribute(ctx=ast.Store()):
                yield node.attr, node.lineno


def functions(source: Path) -> Iterator[tuple[str, int]]:
    """Return the names of a module, its classes and functions, with their lines."""
    yield source.stem, 1
    for node in ast.walk(ast.parse(source.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name, node.lineno


def docstrings(source: Path) -> Iterator[tuple[str, int]]:
    """Return the docstrings of a module, with the lines of what they describe."""
    for node in ast.walk(ast.parse(source.read_text())):
        if isinstance(node, ast.Module | ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield ast.get_docstring(node) or "", getattr(node, "lineno", 1)


def vague_docstrings(folder: Path) -> list[str]:
    """Return where a docstring begins with a word that says too little, and what to write instead."""
    return [
        f"{source.relative_to(ROOT)}:{line}: {first} (write {VAGUE[word]})"
        for source in sorted(folder.rglob("*.py"))
        for docstring, line in docstrings(source)
        for first in docstring.split()[:1]
        if (word := first.removesuffix("s")) in VAGUE
    ]


def words(name: str) -> list[str]:
    """Split a name: `_told_by` and `ToldBy` are told, by."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower().split("_")


def banned(package: Path) -> list[str]:
    """Return where a package has a banned word, and what to write instead."""
    return [
        f"{source.relative_to(ROOT)}:{line}: {name} ({word}: write {BANNED[word]})"
        for source in sorted(package.rglob("*.py"))
        for name, line in identifiers(source)
        for word in words(name)
        if word in BANNED
    ]


def test_a_name_is_looked_at_word_by_word(tmp_path):
    (tmp_path / "told.py").write_text(
        "class Kept:\n    def ask(self, wanted_port): self.heard = told = hearing = 1\n"
    )
    found = {name for name, _ in identifiers(tmp_path / "told.py") if set(words(name)) & BANNED.keys()}
    assert found == {"told", "Kept", "wanted_port", "heard"}


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.name)
def test_no_identifier_has_a_banned_word(package):
    assert banned(package) == []


@pytest.mark.parametrize("folder", TESTS, ids=lambda folder: folder.parent.name)
def test_no_test_is_named_with_a_banned_word(folder):
    assert [
        f"{source.relative_to(ROOT)}:{line}: {name}"
        for source in sorted(folder.rglob("*.py"))
        for name, line in functions(source)
        if set(words(name)) & (BANNED.keys() - VERBS)
    ] == []


def test_a_docstring_is_judged_by_its_first_word(tmp_path, monkeypatch):
    monkeypatch.setattr(f"{__name__}.ROOT", tmp_path)
    (tmp_path / "a.py").write_text(
        '"""Tells the time."""\n\ndef b():\n    """Return what to say."""\n\nclass C:\n    """Let it be."""\n'
    )
    assert [one.partition(" (")[0] for one in vague_docstrings(tmp_path)] == ["a.py:1: Tells", "a.py:6: Let"]


@pytest.mark.parametrize("folder", [*PACKAGES, *TESTS], ids=lambda path: str(path.relative_to(ROOT)))
def test_no_docstring_begins_with_a_vague_verb(folder):
    assert vague_docstrings(folder) == []
