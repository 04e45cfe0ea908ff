"""A how-to page as a test: its steps are applied to a copy of the tree, its commands are run there.

A step is a code block below a line that is nothing but a file's name in backticks:

- a block of any language is a new file, or replaces the whole file;
- a `diff` block changes a file that is there. Its lines begin with `+`, `-` or a space, without line numbers;
  what stays or goes must be in the file exactly once. A line `@@` begins the next change of the same file;
- a `sh` block, which has no file name, is a list of commands.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[4]
PAGES = ROOT / "docs" / "howto"
BLOCK = re.compile(r"(?:^`(?P<path>[^`\n]+)`:?\n+)?^```(?P<language>\w+)\n(?P<text>.*?)^```$", re.M | re.S)
# Compiled modules are: without them each of a page's commands would compile the whole tree.
NOT_COPIED = shutil.ignore_patterns(
    ".git", ".venv", ".acme", "node_modules", ".mypy_cache", ".ruff_cache", ".pytest_cache"
)
MEMBERS = ("libs/*", "services/*")
# Written by `make contracts` and not by hand.
GENERATED = re.compile(r"services/[^/]+/contract/|docs/(asyncapi\.json|permissions\.md|errors\.md)$")


class Block(NamedTuple):
    """A code block of a page, and the file that it is for, if any."""

    path: str | None
    language: str
    text: str


class Tree:
    """A copy of the repository, whose code runs in place of the original's."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "tree"
        shutil.copytree(ROOT, self.root, ignore=NOT_COPIED, symlinks=True)
        members = [str(path) for pattern in MEMBERS for path in sorted(self.root.glob(pattern))]
        # Before the editable installs of the original.
        self.environment = {**os.environ, "PYTHONPATH": os.pathsep.join(members)}

    def apply(self, page: str) -> set[str]:
        """Apply a page's steps, and return the files that they touch; generated files are not counted."""
        steps = [block for block in blocks(page) if block.path]
        for step in steps:
            self._apply(step)
        return {step.path for step in steps if step.path and not GENERATED.match(step.path)}

    def run(self, *command: str, **environment: str) -> str:
        """Run a command in the copy, and return what it printed; fail when it fails."""
        done = subprocess.run(
            command,
            cwd=self.root,
            env={**self.environment, **environment},
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )
        assert not done.returncode, f"{' '.join(command)}\n{done.stdout}"
        return done.stdout

    def make(self, *arguments: str) -> str:
        """Run make with the tools of the original's environment."""
        tools = Path(sys.executable).parent
        return self.run("make", "-s", "-o", ".venv/.ready", f"BIN={tools}", *arguments)

    def test(self, *arguments: str) -> str:
        """Run tests of the copy."""
        return self.run(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments)

    def run_commands(self, page: str) -> None:
        """Run the page's commands, each of which is a `make` or `pytest` of the copy."""
        for command in commands(page):
            program, *arguments = shlex.split(command)
            runner = {"make": self.make, ".venv/bin/pytest": self.test}[program]
            runner(*arguments)

    def _apply(self, step: Block) -> None:
        path = self.root / str(step.path)
        if step.language != "diff":
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(step.text)
            return
        text = path.read_text()
        for change in re.split(r"^@@.*\n", step.text, flags=re.M):
            if change.strip():
                text = patched(text, change, str(step.path))
        path.write_text(text)


def blocks(page: str) -> list[Block]:
    """List the code blocks of a page, in order."""
    text = (PAGES / f"{page}.md").read_text()
    return [Block(match["path"], match["language"], match["text"]) for match in BLOCK.finditer(text)]


def commands(page: str) -> list[str]:
    """List the commands of a page, in order."""
    return [
        line for block in blocks(page) if block.language == "sh" for line in block.text.splitlines() if line
    ]


def patched(text: str, change: str, name: str) -> str:
    """Apply one change of a diff block."""
    before, after = "".join(side(change, "- ")), "".join(side(change, "+ "))
    assert text.count(before) == 1, f"{name} has {text.count(before)} times:\n{before}"
    return text.replace(before, after)


def side(change: str, kinds: str) -> Iterator[str]:
    """Return the lines before (`- `) or after (`+ `) a change."""
    for line in change.splitlines(keepends=True):
        # Editors remove the space of an empty line.
        kind, rest = (line[0], line[1:]) if line.strip("\n") else (" ", line)
        assert kind in "+- ", f"a line of a diff begins with +, - or a space: {line}"
        if kind in kinds:
            yield rest
