"""Write down, from the code, what every service answers and tells; or check it, and that it breaks nobody.

Writes docs/asyncapi.json and, into services/<name>/contract/, openapi.json, internal.openapi.json and
events/<type>.json.

A change that breaks somebody needs a version of the service that says so (0.1 -> 0.2, 1.4 -> 2.0), and of an
event a type of its own (`.v2` beside `.v1`).
"""

import argparse
import difflib
import json
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from testkit.contract_documents import Json, documents, mismatched_events, text
from testkit.openapi_diff import breaking_changes, declares_break
from testkit.pacts import unused_interactions

ROOT = Path(__file__).resolve().parent.parent
DIFF_LINES = 40
# The asyncapi document is not among those compared: it is made of the events, which are.
COMPARED = re.compile(
    r"services/[^/]+/contract/(\w+\.)?openapi\.json|services/[^/]+/contract/events/[^/]+\.json"
)


def written(root: Path) -> set[Path]:
    """Find the documents that are there."""
    patterns = (
        "services/*/contract/*openapi.json",
        "services/*/contract/events/*.json",
        "docs/asyncapi.json",
    )
    return {path for pattern in patterns for path in root.glob(pattern)}


def write(root: Path, made: dict[Path, Json]) -> None:
    """Write all documents, and remove those that nothing stands behind any more."""
    for path in written(root) - made.keys():
        path.unlink()
    for path, document in made.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text(document))


def stale(root: Path, made: dict[Path, Json]) -> Iterator[str]:
    """List which documents differ from the code, and how."""
    for path in sorted(written(root) - made.keys()):
        yield f"{path.relative_to(root)}: nothing stands behind it any more. Run scripts/contracts.py."
    for path, document in made.items():
        old, new = path.read_text() if path.exists() else "", text(document)
        if old != new:
            diff = difflib.unified_diff(
                old.splitlines(), new.splitlines(), "the file", "the code", lineterm="", n=1
            )
            lines = "\n".join([*diff][:DIFF_LINES])
            yield f"{path.relative_to(root)} does not match the code. Run scripts/contracts.py.\n{lines}"


def breaking(root: Path, made: dict[Path, Json], reference: str) -> Iterator[str]:
    """List what breaks those who rely on the documents of a commit."""
    for name in git(root, "ls-tree", "-r", "--name-only", reference, "services").splitlines():
        if not COMPARED.fullmatch(name):
            continue
        old = json.loads(git(root, "show", f"{reference}:{name}"))
        new = made.get(root / name)
        if new is None:
            yield f"{name} is gone"
        elif not declares_break(old, new):
            yield from (f"{name}: {change}" for change in breaking_changes(old, new))


def git(root: Path, *arguments: str) -> str:
    """Return the output of git; ends the program when git fails."""
    command = ["git", "-C", str(root), *arguments]
    answer = subprocess.run(command, check=False, capture_output=True, text=True)  # noqa: S603  # our own words
    if answer.returncode:
        sys.exit(f"git {' '.join(arguments)}: {answer.stderr.strip()}")
    return answer.stdout


def allowed(path: Path | None) -> set[str]:
    """Read the changes that may break somebody, each a line as it is printed here; `#` begins a reason."""
    lines = path.read_text().splitlines() if path else []
    return {line.strip() for line in lines if line.strip() and not line.startswith("#")}


def complaints(root: Path, reference: str, permitted: set[str]) -> Iterator[str]:
    """List everything that is not in order."""
    made = documents(root)
    yield from stale(root, made)
    yield from (f"BREAKS {one}" for one in breaking(root, made, reference) if one not in permitted)
    yield from mismatched_events(root)
    yield from unused_interactions(root)


def main(words: Sequence[str] | None = None, root: Path = ROOT) -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 when something is wrong")
    parser.add_argument("--against", default="HEAD", metavar="REF", help="the commit that must not be broken")
    parser.add_argument(
        "--allow-breaking", type=Path, metavar="FILE", help="changes that may break somebody, and why"
    )
    arguments = parser.parse_args(words)
    if not arguments.check:
        write(root, documents(root))
        return
    found = [*complaints(root, arguments.against, allowed(arguments.allow_breaking))]
    if found:
        sys.exit("\n\n".join(found))


if __name__ == "__main__":
    main()
