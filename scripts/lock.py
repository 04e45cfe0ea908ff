"""Renew requirements.lock from every member's pyproject.toml, or check that it is current."""

import argparse
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "requirements.lock"


def member_projects() -> list[Path]:
    """Return every member's pyproject.toml, in a stable order."""
    return sorted([*ROOT.glob("libs/*/pyproject.toml"), *ROOT.glob("services/*/pyproject.toml")])


def compile_lock(output: Path, *, upgrade: bool) -> None:
    """Resolve for all platforms at once, with hashes; what `output` pins already is kept."""
    projects = member_projects()
    tables = [tomllib.loads(project.read_text()) for project in projects]
    own = [table["project"]["name"] for table in tables]
    groups = [
        f"{project}:test"
        for project, table in zip(projects, tables, strict=True)
        if "test" in table.get("dependency-groups", {})
    ]
    command = [
        *(sys.executable, "-m", "uv", "pip", "compile", "--quiet", "--universal", "--generate-hashes"),
        *("--no-header", "--no-annotate", "--python-version", "3.11"),
        *(part for group in (f"{ROOT / 'pyproject.toml'}:dev", *groups) for part in ("--group", group)),
        *(str(project) for project in projects),
        *(part for name in own for part in ("--no-emit-package", name)),
        *(["--upgrade"] if upgrade else []),
        *("--output-file", str(output)),
    ]
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)  # noqa: S603  # our own words


def is_current() -> bool:
    """Return whether compiling again, from the pins that are there, would change nothing."""
    with tempfile.TemporaryDirectory() as folder:
        again = Path(folder) / LOCK.name
        again.write_bytes(LOCK.read_bytes())
        compile_lock(again, upgrade=False)
        return again.read_bytes() == LOCK.read_bytes()


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 when the lock is stale")
    parser.add_argument("--upgrade", action="store_true", help="take the newest versions allowed")
    arguments = parser.parse_args()
    if not arguments.check:
        compile_lock(LOCK, upgrade=arguments.upgrade)
    elif not is_current():
        sys.exit("requirements.lock does not match the members. Run `make lock`.")


if __name__ == "__main__":
    main()
