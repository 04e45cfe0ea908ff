"""Print the tests that a change touches, one path a line: `make test CHANGED=1`, or CHANGED=<commit>.

The change is what differs from the commit (by default where the branch left main), committed or not. A
changed test file is run alone; any other file of a member brings all tests of the member and of the members
that depend on it; a file outside of the members brings those that test the whole repository.
"""

import argparse
import subprocess
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
# Their tests read documents, manifests, images and scripts.
WHOLE_REPOSITORY = ("libs/starter-cli", "libs/testkit")
# Every member's tests run with these.
TEST_TOOLS = ("acme-sandbox", "acme-testkit")


def changed_files(since: str, root: Path = ROOT) -> list[str]:
    """Return the files that differ from a commit, also those that git does not know yet."""
    if since == "1":
        since = git(root, "merge-base", "HEAD", "main").strip()
    known = git(root, "diff", "--name-only", "--no-renames", since)
    unknown = git(root, "ls-files", "--others", "--exclude-standard")
    return sorted({*known.splitlines(), *unknown.splitlines()})


def git(root: Path, *arguments: str) -> str:
    """Return what a git command prints."""
    done = subprocess.run(["git", *arguments], cwd=root, check=True, capture_output=True, text=True)  # noqa: S603, S607
    return done.stdout


def dependents(root: Path = ROOT) -> dict[str, set[str]]:
    """Return for each member's folder the members that depend on it, itself included."""
    projects = [*root.glob("libs/*/pyproject.toml"), *root.glob("services/*/pyproject.toml")]
    tables = {
        project.parent.relative_to(root).as_posix(): tomllib.loads(project.read_text())
        for project in projects
    }
    folders = {table["project"]["name"]: folder for folder, table in tables.items()}
    needs = {
        folder: {
            folders[name]
            for name in (*map(package_name, requirements(table)), *TEST_TOOLS)
            if name in folders
        }
        for folder, table in tables.items()
    }
    return {folder: {other for other in needs if folder in closure(other, needs)} for folder in needs}


def requirements(table: Mapping[str, Any]) -> list[str]:
    """Return what a member needs, also for its tests."""
    needed: list[str] = table["project"].get("dependencies", [])
    return [*needed, *table.get("dependency-groups", {}).get("test", [])]


def package_name(requirement: str) -> str:
    """Return the name in a requirement such as `acme-sandbox[servers]>=1`."""
    return requirement.partition("[")[0].partition(">")[0].strip()


def closure(folder: str, needs: Mapping[str, set[str]]) -> set[str]:
    """Return a member and all that it depends on."""
    reached, waiting = {folder}, [folder]
    while waiting:
        new = needs[waiting.pop()] - reached
        reached |= new
        waiting += new
    return reached


def affected(files: Iterable[str], root: Path = ROOT) -> list[str]:
    """Return the paths for pytest: folders of members, and test files outside of them."""
    by_member = dependents(root)
    folders: set[str] = set()
    single: set[str] = set()
    for file in files:
        member = "/".join(file.split("/")[:2])
        if member not in by_member:
            folders.update(WHOLE_REPOSITORY)
        elif "/tests/" in file and Path(file).name.startswith("test_"):
            single.add(file)
        else:
            folders |= by_member[member]
    alone = {file for file in single if (root / file).exists() and not file.startswith(tuple(folders))}
    return sorted(folders | alone)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("since", nargs="?", default="1", help="a commit; 1: where the branch left main")
    print("\n".join(affected(changed_files(parser.parse_args().since))))  # noqa: T201  # it is what it is for
